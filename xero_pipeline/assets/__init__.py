"""One module a table: fetch the week, shape it, replace it, report it. Their asset checks lie beside them."""
