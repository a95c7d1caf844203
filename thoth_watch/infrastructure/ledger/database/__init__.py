"""The ledger's database: connections, transactions, column types, tables, migrations and maintenance."""
