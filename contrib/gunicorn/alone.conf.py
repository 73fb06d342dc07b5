"""gunicorn with nothing before it: /srv/example/venv/bin/gunicorn -c alone.conf.py.

Publish the port in the SRV record: XHMTP needs no port 80. For TLS, or beside another web server,
take behind_nginx.conf.py.
"""

wsgi_app = "wsgi:application"
chdir = "/srv/example"
bind = "0.0.0.0:8080"

# Threads, not the default "sync": a sync worker serves one client at a time, and one that is at a
# large upload for longer than `timeout` is killed with it. Never "sync" with nothing before it.
worker_class = "gthread"
workers = 2
threads = 8
timeout = 60

# By default every program on this host may say X-Forwarded-Proto and SCRIPT_NAME. Nothing is
# before this gunicorn, so nobody may. (X-Forwarded-For is not gunicorn's: trusted_proxies in
# xhmtp.toml says who is believed there, and stays empty.)
forwarded_allow_ips = ""
forwarder_headers = ""

# %(U)s, not %(r)s, and no Referer: feed tokens are in queries (?token=...), and no log may have
# them.
accesslog = "/var/log/xhmtp/access.log"
access_log_format = '%(h)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(B)s'
errorlog = "/var/log/xhmtp/error.log"
capture_output = True  # else the warnings that fail2ban reads are not in it

umask = 0o027  # gunicorn's own default lets everybody write its logs
pidfile = "/run/xhmtp/gunicorn.pid"  # contrib/logrotate.d/xhmtp reads it
control_socket_disable = True  # gunicorn 25 and newer would make one in the user's home
