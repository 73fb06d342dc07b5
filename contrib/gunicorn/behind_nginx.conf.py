"""gunicorn behind nginx: /srv/example/venv/bin/gunicorn -c behind_nginx.conf.py.

Goes with contrib/nginx/xhmtp.conf, and with this line in xhmtp.toml:
trusted_proxies = ["127.0.0.1"]
"""

wsgi_app = "wsgi:application"
chdir = "/srv/example"

# An address, not a Unix socket: over one, gunicorn has no address to tell, trusted_proxies cannot
# match, and every notification fails the check of its origin. Loopback only: whoever reaches this
# port can say where he comes from.
bind = "127.0.0.1:8000"

# nginx takes in whole requests before it asks, so that sync workers would do as well.
worker_class = "gthread"
workers = 2
threads = 8
timeout = 60

# nginx may say whether the client spoke TLS, and nothing more.
forwarded_allow_ips = "127.0.0.1"
forwarder_headers = ""

# nginx keeps the access log.
accesslog = None
errorlog = "/var/log/xhmtp/error.log"
capture_output = True  # else the warnings that fail2ban reads are not in it

umask = 0o027  # gunicorn's own default lets everybody write its logs
pidfile = "/run/xhmtp/gunicorn.pid"  # contrib/logrotate.d/xhmtp reads it
control_socket_disable = True  # gunicorn 25 and newer would make one in the user's home
