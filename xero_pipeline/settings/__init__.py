"""Every setting, by subject. `load_settings` reads and checks them once."""

from xero_pipeline.settings.base import SettingsError as SettingsError
from xero_pipeline.settings.loading import Settings as Settings
from xero_pipeline.settings.loading import child_environment as child_environment
from xero_pipeline.settings.loading import export_dotenv_variables as export_dotenv_variables
from xero_pipeline.settings.loading import load_settings as load_settings
from xero_pipeline.settings.people import DAGSTER_PATH as DAGSTER_PATH
from xero_pipeline.settings.xero import GRANULAR_SCOPES as GRANULAR_SCOPES
from xero_pipeline.settings.xero import Basis as Basis
from xero_pipeline.settings.xero import Grant as Grant
