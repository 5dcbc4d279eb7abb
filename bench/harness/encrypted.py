"""The servers that echo through TLS, each a command with {port} in it, and their loads."""

import pathlib
import shlex
import subprocess

from measuring import Load
from places import BUILD

TLS = ("--tls", "--insecure")
# What one client asks for: connections at once, in turn, echoes on each, bytes.
LOADS = {
    "64 bytes": Load(50, 1, 1000, 64, TLS),
    "16 KiB": Load(10, 1, 400, 16 * 1024, TLS),
    "1 MiB": Load(4, 1, 40, 1024 * 1024, TLS),
    "full handshake": Load(10, 200, 1, 64, (*TLS, "--full-handshakes")),
    "resumed": Load(10, 200, 1, 64, TLS),
}

ANCHOR = "C on epoll"
PEERS = (ANCHOR, "ringlet", "Go")  # they answer by themselves
FRONT_ENDS = ("haproxy", "nginx")  # they decrypt, and forward to a plain echo server
PROXIED = ("64 bytes", "full handshake")  # the loads that are meaningful for front ends

STREAM_MODULE = "usr/lib/nginx/modules/ngx_stream_module.so"
NEEDED = {"haproxy": ("openssl", "haproxy"), "nginx": ("openssl", "nginx", STREAM_MODULE)}

# @PORT@ is replaced when the server is started.
NGINX = """
load_module /{module};
daemon off; master_process off; worker_processes 1; pid {folder}/tls.pid; error_log {folder}/tls.log;
events {{ worker_connections 30000; }}
stream {{
    ssl_certificate {folder}/tls.pem; ssl_certificate_key {folder}/tls.key; proxy_timeout 1h;
    server {{ listen 127.0.0.1:@PORT@ ssl backlog=4096; proxy_pass {behind}; }}
}}
"""

HAPROXY = """
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen all
    bind 127.0.0.1:@PORT@ ssl crt {folder}/tls.both
    server one {behind}
"""


def certificate_files(folder):
    return [str(pathlib.Path(folder, name)) for name in ("tls.pem", "tls.key")]


def make_certificate(folder):
    """Once for a folder; ECDSA P-256, for localhost. HAProxy wants it in one file with its key."""
    pem, key = map(pathlib.Path, certificate_files(folder))
    if not key.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                        key, "-out", pem, "-days", "30", "-subj", "/CN=localhost"], check=True, capture_output=True)  # fmt: skip
        pathlib.Path(folder, "tls.both").write_text(pem.read_text() + key.read_text())


def peers(folder):
    """The command of each of PEERS."""
    pem, key = certificate_files(folder)
    build = shlex.quote(str(BUILD))
    return {
        ANCHOR: f"{build}/bench/tls_epoll_echo {{port}} {pem} {key}",
        "ringlet": f"{build}/src/server/echo_coro --quiet --port {{port}} --tls-cert {pem} --tls-key {key}",
        "Go": f"{build}/bench/go_echo {{port}} {pem} {key}",
    }


def configured(folder, name, text, command):
    """A command that writes its configuration, with the port in it, and becomes the server."""
    form, used = pathlib.Path(folder, f"{name}.form"), f"{folder}/{name}.conf"
    form.write_text(text)
    return f"sh -c 'sed s/@PORT@/{{port}}/ {form} > {used} && exec {command} {used}'"


def front_ends(folder, behind):
    """The command of each of FRONT_ENDS; `behind` is the address of the plain echo server."""
    names = {"folder": folder, "behind": behind}
    return {
        "haproxy": configured(folder, "haproxy-tls", HAPROXY.format(**names), "haproxy -q -f"),
        "nginx": configured(folder, "nginx-tls", NGINX.format(module=STREAM_MODULE, **names), f"nginx -p {folder} -c"),
    }
