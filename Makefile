# The two commands that matter are `make demo` and `make test`. Each installs what it needs by itself.

# PYTHON itself, in the environment or behind `make`, names the interpreter that .venv is made with: PYTHON=python3.13.
VENV_PYTHON = .venv/bin/python
# cython-lint calls pycodestyle by name.
WITH_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"
FUZZ_SECONDS = 60
FUZZ_SECONDS_IN_TEST = 4
CHAOS_SECONDS = 600
CHAOS_SEED = 1
KILLS = 50
SATURATED_SECONDS = 60
SEEDS = 10000
# Of the acceptance: which lists (all, if none is named), the seed, after how many minutes no case is begun (0: never),
# and 0 if cases that were run at this commit are to be run again.
ONLY =
SEED = 1
MINUTES = 0
RESUME = 1
ANEW = $(if $(filter 0,$(RESUME)),--anew)
NAME =
# Of a release: the key that signs it, and the other Debian, if its files are to be built too.
SIGN_KEY =
OTHER =
RUNS = 50
NOISE = 0.15
# Of the simulation the first seed, of an upgrade the commit before it.
simulate simulate-outlets simulate-udp simulate-markings: FROM = 0
test-upgrade: FROM = baa4472
PYTEST_ARGS =
TEST_FACES = $(patsubst tests/native/%.pyx,tests.native.%,$(wildcard tests/native/*.pyx))
# Under a sanitiser Python's own allocator would hide over-reads; memory that lives until exit is no leak of ours.
SANITISER_ENV = PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	TSAN_OPTIONS=halt_on_error=1:suppressions=$(CURDIR)/tests/tsan.supp
SANITISER_TESTS = tests/core tests/scenarios/test_a_half_closed_stream_goes_on_the_other_way.py
# These scenarios wait more than they work, and what they bound they bound by seconds: a few of them do not disturb each
# other. The others measure, or take the whole machine. Those that take long come first, so that no worker has much to do
# when the others have nothing left.
PARALLEL_SCENARIOS = $(wildcard $(foreach what,a_cut_over_* a_canary_* a_drill_* a_service_moves_* a_node_that_* a_node_is_* \
	the_readme_* junk_on_* the_state_of_* two_people_* a_rule_* an_upgrade_that_fails_* an_upgrade_loses_no_stream_of_a_few* \
	who_scrapes_* a_member_among_* a_neighbour_* an_audit_log_* controls_of_* what_nobody_may_* keys_that_* a_drain_* \
	a_lane_that_breaks_* a_far_edge_that_breaks_* a_relay_that_lies_* a_peer_that_must_not_* \
	a_revocation_at_* memory_that_* one_that_never_* a_slow_writer_* two_thousand_idle_* a_realm_bundle_* the_wall_clock_* a_target_* a_name_that_* a_port_* services_that_* ssh_* redis_* iperf_* psql_* \
	a_gigabyte_* a_renewal_that_is_refused_* edges_share_* edges_find_* an_edge_hears_* streams_find_* a_node_lives_* explain_* a_realm_comes_up_* \
	a_clock_that_* a_half_closed_* a_machine_that_* a_node_runs_* a_node_says_* a_reset_at_* a_service_without_* \
	shares_of_* a_set_up_* a_signal_* an_edge_that_is_* who_is_* callers_who_* an_old_way_* what_people_* \
	unix_sockets_* a_link_with_* a_dry_run_* what_is_marked_* one_stream_* a_pack_of_* a_log_on_a_full_* \
	applications_* keys_are_renewed_* forty_seeded_* two_workers_* a_release_that_* a_doctor_* \
	twenty_thousand_* an_auditor_* associations_* whose_datagrams_* name_queries_* certificates_are_* floods_end_* \
	local_ports_* a_reload_disturbs_* a_relay_that_goes_* a_node_without_* a_relay_says_* a_large_audit_* an_old_segment_* \
	the_demo_* a_fleet_is_* a_store_with_* a_page_off_* alerts_fire_* prometheus_sees_*,tests/scenarios/test_$(what).py))
IN_TEST = -m 'tier_test and not tier_all'
# Files are begun in the order in which they are named.
XDIST = -n 2 --dist loadfile --no-loadscope-reorder
# So many workers keep two processors at work in `make test`: tests of one process wait for timers and disks half of their
# time. Three scenarios at a time were too many: one that a machine serves within ten seconds took longer, twice.
TESTS_AT_A_TIME = -n 3
SCENARIOS_AT_A_TIME = -n 2
# What a sanitiser writes before it ends the process must not be caught by pytest.
SANITISED_PYTEST = $(VENV_PYTHON) -m pytest -p no:cacheprovider --capture=sys --timeout 600 $(SANITISER_TESTS) \
	$(SANITISER_LEAVES_OUT) $(PYTEST_ARGS)
# They search all memory for secrets, and a sanitiser keeps what Python gave back.
SANITISER_LEAVES_OUT = --ignore=tests/core/test_keys_are_wiped.py --ignore=tests/core/test_renewals_are_wiped.py
# ThreadSanitizer wants its memory at fixed places. Where the kernel spreads addresses too widely for it, they are not
# spread at all, if that is allowed here.
NO_ASLR = $$(setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: help setup build demo picture-top picture-page test test-all test-upgrade flakes lint types collect fuzz simulate simulate-outlets simulate-udp prove acceptance acceptance-drills acceptance-judge chaos kills asan tsan bench bench-openssl bench-short bench-fleet bench-direct bench-audit bench-ports bench-udp bench-count \
	bench-report annotate wheel test-wheel deb image sbom release test-debian clean

help: ## Show this list.
	@echo 'pcgrelay: a secure relay gateway between organisations.'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-20s %s\n' "$$name" "$$text"; done

$(VENV_PYTHON):
	@sh scripts/setup

setup: ## Install what is missing, make .venv and build the core; a second run takes about a second.
	@sh scripts/setup

build: | $(VENV_PYTHON) ## Build the native core where the Python package finds it, and the tests' faces of it.
	$(VENV_PYTHON) setup.py --quiet build_ext --inplace
	$(VENV_PYTHON) tests/native/setup.py --quiet build_ext --inplace

demo: setup ## Show a realm of two relays and three organisations at work on this machine.
	@.venv/bin/pcgrelay demo

picture-top: setup ## Draw what `pcgrelay top` shows of the demonstration, for the documents.
	@sh scripts/picture-top

picture-page: ## Take a picture of a node's page in Chromium, for the documents.
	@sh scripts/setup all
	$(VENV_PYTHON) -m tests.pictures

test: ## Run what must hold before a change is taken: lint, types, tests, a short fuzz run; at most 20 minutes.
	@sh scripts/setup test
	@$(MAKE) --no-print-directory -j4 --output-sync=target lint types collect fuzz FUZZ_SECONDS=$(FUZZ_SECONDS_IN_TEST)
	$(VENV_PYTHON) -m pytest -q $(PYTEST_ARGS) -m 'not tier_all' $(XDIST) $(TESTS_AT_A_TIME) \
		tests/simulation tests/source tests/core tests/unit
	$(VENV_PYTHON) -m pytest -q $(PYTEST_ARGS) $(IN_TEST) $(XDIST) $(SCENARIOS_AT_A_TIME) $(PARALLEL_SCENARIOS)
	$(VENV_PYTHON) -m pytest -q $(PYTEST_ARGS) $(IN_TEST) $(addprefix --ignore=,$(PARALLEL_SCENARIOS)) tests/scenarios

test-all: test ## Run that, and the scenarios that take long or boot another system; at most 75 minutes.
	@sh scripts/setup all
	$(VENV_PYTHON) -m pytest -q $(PYTEST_ARGS) $(XDIST) -m 'hypothesis or tier_all' --hypothesis-profile=thorough \
		tests/simulation tests/source tests/core tests/unit
	$(VENV_PYTHON) -m pytest -q $(PYTEST_ARGS) $(XDIST) -m tier_all $(PARALLEL_SCENARIOS)
	$(VENV_PYTHON) -m pytest -q $(PYTEST_ARGS) -m tier_all $(addprefix --ignore=,$(PARALLEL_SCENARIOS)) tests/scenarios
	@$(MAKE) --no-print-directory test-upgrade

test-upgrade: ## Build commit FROM (baa4472 unless told), run its nodes beside this code's, and upgrade them to it, under streams.
	@sh scripts/setup test
	@sh scripts/earlier '$(FROM)'
	$(VENV_PYTHON) -m pytest -q $(PYTEST_ARGS) -m tier_upgrade --upgrade-from='$(FROM)' tests/scenarios

flakes: ## Run the tests that NAME selects (as pytest -k does) RUNS times beside two busy loops, and count what failed.
	@sh scripts/setup test
	@sh scripts/flakes '$(NAME)' $(RUNS)

lint: | $(VENV_PYTHON) ## Check the style of the Python and the Cython sources.
	$(VENV_PYTHON) -m ruff check .
	$(WITH_VENV) cython-lint src/_core tests/native

# Each worker imports all tests. What pytest makes of them is written down here once, and not made by each worker anew,
# also where the environment keeps Python from writing bytecode.
collect: | $(VENV_PYTHON) ## Import all tests, which tells early of one that does not load.
	@mkdir -p build
	@PYTHONDONTWRITEBYTECODE= $(VENV_PYTHON) -m pytest -q --collect-only tests >build/collect.log 2>&1 || \
		{ cat build/collect.log; exit 1; }

types: | $(VENV_PYTHON) ## Check the types, and the stubs against the built modules.
	$(VENV_PYTHON) -m mypy --strict src/pcgrelay
	$(VENV_PYTHON) -m mypy.stubtest pcgrelay._core $(TEST_FACES) --allowlist tests/source/stubtest.allow \
		--ignore-unused-allowlist

fuzz: | $(VENV_PYTHON) ## Run each fuzz harness for FUZZ_SECONDS (60 unless told).
	$(VENV_PYTHON) tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

chaos: ## Let everything befall two relays for CHAOS_SECONDS (600 unless told), in the order of CHAOS_SEED.
	@sh scripts/setup test
	$(VENV_PYTHON) -m pytest -q --timeout=0 --chaos=$(CHAOS_SECONDS) --chaos-seed=$(CHAOS_SEED) $(PYTEST_ARGS) \
		tests/scenarios/test_chaos_leaves_every_stream_whole.py

kills: ## Kill a relay under streams KILLS times (50 unless told), and look for false alarms on a busy machine.
	@sh scripts/setup test
	$(VENV_PYTHON) -m pytest -q --timeout=0 --kills=$(KILLS) --saturated=$(SATURATED_SECONDS) $(PYTEST_ARGS) \
		tests/scenarios/test_streams_outlive_whatever_befalls_a_relay.py \
		tests/scenarios/test_a_silent_network_is_noticed_in_time_and_a_busy_machine_is_no_silence.py

simulate: | $(VENV_PYTHON) ## Run SEEDS simulated worlds (10,000 unless told, about three minutes), beginning with seed FROM.
	$(VENV_PYTHON) -m tests.simulation --seeds $(SEEDS) --from $(FROM)

simulate-outlets: | $(VENV_PYTHON) ## The same, and each world has a second exit beside the gateway; 10,000 take a quarter of an hour.
	$(VENV_PYTHON) -m tests.simulation --outlets --seeds $(SEEDS) --from $(FROM)

simulate-udp: | $(VENV_PYTHON) ## The same, and each world has UDP lanes over a bad network; 1,000 take about a quarter of an hour.
	$(VENV_PYTHON) -m tests.simulation --udp --seeds $(SEEDS) --from $(FROM)

simulate-markings: | $(VENV_PYTHON) ## Live through SEEDS realms with random clearances, as many in which files differ, and as many with a relay that lies.
	$(VENV_PYTHON) -m tests.simulation.markings --realms $(SEEDS) --from $(FROM)

prove: | $(VENV_PYTHON) ## Prove the protocol's claims by its models (docs/proofs); ProVerif must be on the PATH; some minutes.
	$(VENV_PYTHON) docs/proofs/run.py

acceptance: ## Show all that a cut-over and an audit log must do, in full numbers; hours, resumed at the case that is next. ONLY=faults,cuts
	@sh scripts/setup test
	$(VENV_PYTHON) -m tests.acceptance --only='$(ONLY)' --seed=$(SEED) --minutes=$(MINUTES) $(ANEW)

acceptance-drills: ## Hold sixty drills under live traffic, as a part of that.
	@$(MAKE) --no-print-directory acceptance ONLY=drills

acceptance-judge: | $(VENV_PYTHON) ## Count what the judge of a cut-over does in simulated ones; some minutes.
	$(VENV_PYTHON) -m tests.acceptance.judge

asan: | $(VENV_PYTHON) ## Run the core tests and a scenario under AddressSanitizer and UndefinedBehaviorSanitizer.
	PCGRELAY_BUILD=asan $(VENV_PYTHON) setup.py --quiet build
	PCGRELAY_BUILD=asan $(VENV_PYTHON) tests/native/setup.py --quiet build
	$(SANITISER_ENV) LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		PYTHONPATH=build/asan/lib $(SANITISED_PYTEST)

tsan: | $(VENV_PYTHON) ## Run the core tests and a scenario under ThreadSanitizer.
	PCGRELAY_BUILD=tsan $(VENV_PYTHON) setup.py --quiet build
	PCGRELAY_BUILD=tsan $(VENV_PYTHON) tests/native/setup.py --quiet build
	$(SANITISER_ENV) $(NO_ASLR) env LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" \
		PYTHONPATH=build/tsan/lib $(SANITISED_PYTEST)

bench: ## Measure, from one AEAD call up to nodes beside their peers: 30 minutes, or 4 with BENCH=short.
	@sh scripts/setup bench
	$(VENV_PYTHON) -m benches

bench-openssl: ## Build the OpenSSL of Debian 13, which wheels carry, and climb the ladder with it; RUNGS=node for one.
	@sh scripts/setup openssl
	@sh scripts/openssl
	BENCH_LIBCRYPTO=$(CURDIR)/build/openssl/lib $(VENV_PYTHON) -m benches $(RUNGS)

bench-short: ## Compare nodes with their peers in a minute; fail where pcgrelay is behind by more than the noise.
	@sh scripts/setup bench
	$(VENV_PYTHON) -m benches.short --noise $(NOISE)
	BENCH=short $(VENV_PYTHON) -m benches.bench_fleet
	BENCH=short $(VENV_PYTHON) -m benches.bench_ports
	BENCH=short $(VENV_PYTHON) -m benches.bench_udp

bench-fleet: ## Measure the catalogue of fleets from 2 to 200 relays; with BENCH=short, up to 20.
	@sh scripts/setup test
	$(VENV_PYTHON) -m benches.bench_fleet

bench-direct: ## Compare an edge with a direct outlet with haproxy as a plain TCP proxy; fail where it is behind.
	@sh scripts/setup bench
	$(VENV_PYTHON) -m benches.bench_direct

bench-audit: ## Compare two edges with an audit log with the same two without, beside 1,000 streams a second.
	@sh scripts/setup bench
	$(VENV_PYTHON) -m benches.bench_audit

bench-ports: ## Time connect() of an edge that opens 1,000 connections a second to one target off loopback; two minutes.
	@sh scripts/setup bench
	$(VENV_PYTHON) -m benches.bench_ports

bench-udp: ## Compare datagrams with wireguard-go, nginx and socat, and streams with and without a flood; ten minutes.
	@sh scripts/setup udp
	$(VENV_PYTHON) -m benches.bench_udp

bench-count: ## Count the instructions of a frame and of an accept; fail if one costs 3 % more than before.
	@sh scripts/setup test
	$(VENV_PYTHON) -m benches.count

bench-report: | $(VENV_PYTHON) ## Write docs/performance.md from the last measurement.
	$(VENV_PYTHON) -m benches.report

annotate: | $(VENV_PYTHON) ## Write the C that each Cython line becomes, as HTML under build/annotate/.
	PCGRELAY_BUILD=annotate $(VENV_PYTHON) setup.py --quiet build_ext
	@echo 'Open the HTML files in build/annotate/cython/src/_core/.'

wheel: ## Build dist/pcgrelay-*.whl for this Debian's Python, with a libcrypto of its own; five minutes the first time.
	@sh scripts/setup package
	@sh scripts/wheel

test-wheel: ## Run the core's tests as they are in a wheel: through the table of its own libcrypto.
	@sh scripts/setup package
	@sh scripts/openssl static
	PCGRELAY_LIBCRYPTO=wheel $(VENV_PYTHON) setup.py --quiet build
	PCGRELAY_LIBCRYPTO=wheel $(VENV_PYTHON) tests/native/setup.py --quiet build
	PYTHONPATH=build/wheel/lib $(VENV_PYTHON) -m pytest -q -p no:cacheprovider $(PYTEST_ARGS) $(XDIST) tests/core

deb: ## Build dist/pcgrelay_*.deb for the Debian that this is, 12 or 13.
	@sh scripts/setup package
	@sh scripts/deb

image: deb ## Build dist/pcgrelay-*.oci.tar from that package, without a container engine.
	@sh scripts/image "$$(ls -t dist/pcgrelay_*.deb | head -n 1)"

sbom: ## Write dist/pcgrelay-*.cdx.json: all components with their versions, the libcrypto too, as CycloneDX.
	@sh scripts/setup package
	@sh scripts/sbom

release: ## Build all that a release has into dist, signed by SIGN_KEY; with OTHER=trixie that Debian's wheel and package too.
	@sh scripts/setup package
	@OTHER='$(OTHER)' SIGN_KEY='$(SIGN_KEY)' sh scripts/release

test-debian: ## Run demo, tests of core and control plane, and the package on another Debian: OTHER=trixie or bookworm.
	@sh scripts/setup all
	@sh scripts/test-debian '$(OTHER)'

clean: ## Remove what the build made; .venv stays.
	rm -rf build dist src/*.egg-info src/_core/*/*.c src/_core/*/*.html src/pcgrelay/_core/*/*.so tests/native/*.c \
		tests/native/*.html tests/native/*.so .venv/core.stamp
