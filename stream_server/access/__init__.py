"""Who may do what: credentials, limits, the audit trail."""
