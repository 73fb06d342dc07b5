"""``manage.py xhmtp`` and ``manage.py xhmtp_notify``."""
