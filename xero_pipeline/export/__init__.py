"""The figures as files: Parquet, CSV and Excel. It knows neither SQL nor the web; `warehouse/figures/exporting.py`
reads the rows."""
