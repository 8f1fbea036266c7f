"""nginx with its stream module: each hop ends TLS and begins it again; or the middle one passes ciphertext through."""

from pathlib import Path
from typing import ClassVar

from benches import certificates
from benches.chain import Chain
from benches.datagrams import IDLE_S, Datagrams

TEMPLATE = Path(__file__).with_name("hop.conf")
DATAGRAMS = Path(__file__).with_name("datagrams.conf")
# TLS 1.3 and one suite, the one that pcgrelay uses; both ends show certificates, and sessions are resumed.
SERVER = """ssl_certificate {folder}/{name}.bench.crt;
        ssl_certificate_key {folder}/{name}.bench.key;
        ssl_client_certificate {folder}/ca.crt;
        ssl_verify_client on;
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;
        ssl_session_cache shared:sessions:16m;
        """
CLIENT = """proxy_ssl on;
        proxy_ssl_certificate {folder}/{name}.bench.crt;
        proxy_ssl_certificate_key {folder}/{name}.bench.key;
        proxy_ssl_trusted_certificate {folder}/ca.crt;
        proxy_ssl_verify on;
        proxy_ssl_name {far}.bench;
        proxy_ssl_server_name on;
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;
        proxy_ssl_session_reuse on;
        """


class Nginx(Chain):
    name: ClassVar[str] = "nginx"
    passes_through: ClassVar[bool] = False

    def start_hops(self) -> None:
        place = self.place
        certificates.make(place.folder, [f"{name}.bench" for name in place.names])
        for hop, name in enumerate(place.names):
            plain = self.passes_through and name == "r"
            far = "b" if self.passes_through else place.names[min(hop + 1, place.hops - 1)]
            named = {"folder": place.folder, "name": name, "far": far}
            serves_tls, speaks_tls = hop > 0 and not plain, name != "b" and not plain
            values = {
                "NAME": place.folder / name,
                "LISTEN": place.address(hop),
                "LISTEN_TLS": " ssl" if serves_tls else "",
                "NEXT": place.next_address(hop),
                "CONNECTIONS": 2 * place.connections,
                "TLS": (SERVER if serves_tls else "").format(**named) + (CLIENT if speaks_tls else "").format(**named),
            }
            config = self.write(TEMPLATE, f"{name}.conf", values)
            self.spawn(hop, ["nginx", "-c", config, "-p", place.folder, "-e", place.folder / f"{name}.error"])


class NginxPass(Nginx):
    name = "nginx-pass"
    passes_through = True


class NginxDatagrams(Datagrams):
    """Its stream module with UDP: what comes goes on in clear."""

    name = "nginx"
    suite = "none"

    def start_hops(self) -> None:
        place = self.place
        for hop, name in enumerate(place.names):
            values = {
                "NAME": place.folder / name,
                "LISTEN": place.address(hop),
                "NEXT": place.next_address(hop),
                "CONNECTIONS": 4 * place.connections,
                "IDLE": IDLE_S,
            }
            config = self.write(DATAGRAMS, f"{name}.conf", values)
            self.spawn(hop, ["nginx", "-c", config, "-p", place.folder, "-e", place.folder / f"{name}.error"])
