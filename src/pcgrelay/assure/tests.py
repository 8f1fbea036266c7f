"""All tests by name: who reads the facts, and who judges them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pcgrelay.assure.judgement import Judgement
from pcgrelay.assure.judges import crypto, host, record, resilience, rules, software
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.readers import (
    alerts,
    answers,
    backups,
    bank,
    certificates,
    drills,
    handshakes,
    link_loss,
    memory,
    probe,
    process,
    ways,
)
from pcgrelay.assure.readers import record as log
from pcgrelay.assure.readers import rules as policy
from pcgrelay.assure.readers import software as installed
from pcgrelay.assure.scene import Scene

# A reader fills the Struct of facts that its judge takes; the two are matched here, and a test holds their types.
Reader = Callable[[Scene], Awaitable[Any]]
Judge = Callable[[Any, Parameters], Judgement]


@dataclass(frozen=True, slots=True)
class LiveTest:
    """A reader and a judge."""

    read: Reader
    judge: Judge
    times: int = 1  # of the seconds that a test has: for those that make many handshakes


TESTS: dict[str, LiveTest] = {
    "old_tls_is_refused": LiveTest(handshakes.offer_old_tls, crypto.old_tls_is_refused, 4),
    "other_cryptography_is_refused": LiveTest(
        handshakes.offer_other_cryptography, crypto.other_cryptography_is_refused, 4
    ),
    "groups_are_of_the_profile": LiveTest(handshakes.read_groups, crypto.groups_are_of_the_profile, 2),
    "own_chain_is_good": LiveTest(certificates.read_own_chain, crypto.own_chain_is_good),
    "bad_certificates_are_refused": LiveTest(bank.show_bad_certificates, crypto.bad_certificates_are_refused, 6),
    "revocation_list_is_current": LiveTest(certificates.read_revocation_lists, crypto.revocation_list_is_current),
    "proofs_are_recent": LiveTest(handshakes.read_channels, crypto.proofs_are_recent),
    "known_answers_are_right": LiveTest(answers.read_known_answers, crypto.known_answers_are_right),
    "secrets_are_wiped": LiveTest(memory.search_secrets, host.secrets_are_wiped, 2),
    "memory_stays_in_memory": LiveTest(process.read_process, host.memory_stays_in_memory),
    "crypto_inventory_is_complete": LiveTest(handshakes.read_channels, crypto.crypto_inventory_is_complete),
    "sides_do_not_meet": LiveTest(process.read_listeners, host.sides_do_not_meet),
    "no_other_port_is_open": LiveTest(process.read_ports, host.no_other_port_is_open, 2),
    "admin_socket_is_private": LiveTest(process.read_admin_socket, host.admin_socket_is_private),
    "rules_are_owned": LiveTest(policy.read_rules, rules.rules_are_owned),
    "signers_are_persons": LiveTest(policy.read_people, rules.signers_are_persons),
    "changes_are_signed": LiveTest(policy.read_changes, rules.changes_are_signed, 8),
    "nothing_leads_across": LiveTest(policy.read_transit, rules.nothing_leads_across),
    "markings_are_kept": LiveTest(ways.read_markings, rules.markings_are_kept),
    "network_is_drawn": LiveTest(ways.read_diagram, rules.network_is_drawn),
    "strangers_are_refused": LiveTest(probe.read_refusal, rules.strangers_are_refused, 2),
    "clock_is_kept": LiveTest(log.read_clock, record.clock_is_kept),
    "what_happens_is_recorded": LiveTest(probe.read_observed, record.what_happens_is_recorded, 4),
    # Ten million records take a minute on one core.
    "log_is_whole": LiveTest(log.read_log, record.log_is_whole, 36),
    "records_are_kept": LiveTest(log.read_kept, record.records_are_kept),
    "nothing_is_held": LiveTest(probe.read_privacy, record.nothing_is_held, 4),
    "alerts_are_sound": LiveTest(alerts.read_alerts, record.alerts_are_sound, 2),
    "ways_are_apart": LiveTest(ways.read_ways, resilience.ways_are_apart),
    # A link that was taken away may take its time to come back.
    "serves_without_a_link": LiveTest(link_loss.read_link_losses, resilience.serves_without_a_link, 10),
    "backup_starts_a_node": LiveTest(backups.read_backup, resilience.backup_starts_a_node, 4),
    "drills_were_held": LiveTest(drills.read_drills, resilience.drills_were_held),
    "floods_are_bounded": LiveTest(process.read_flood_bounds, host.floods_are_bounded, 2),
    "process_has_no_rights": LiveTest(process.read_process, host.process_has_no_rights),
    "components_are_listed": LiveTest(installed.read_sbom, software.components_are_listed),
    "files_are_as_recorded": LiveTest(installed.read_files, software.files_are_as_recorded, 2),
    "libraries_are_supported": LiveTest(installed.read_libraries, software.libraries_are_supported),
    "release_is_recent": LiveTest(installed.read_release, software.release_is_recent),
    "release_is_supported": LiveTest(installed.read_release, software.release_is_supported),
    "networks_are_supported": LiveTest(installed.read_ends, software.networks_are_supported),
}
