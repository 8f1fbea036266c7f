# What the scripts share that build wheel, package and image. They are run from the top of the repository.

PACKAGING=$PWD/build/packaging
# Debian's own, whatever else is on the path: a Python from elsewhere leaves its path in every module.
DEBIAN_PYTHON=/usr/bin/python3

say() { printf '%s\n' "$(basename "$0"): $*"; }
fail() { printf '%s\n' "$(basename "$0"): $*" >&2; exit 1; }

# The date of everything that is packed is that of the commit, unless SOURCE_DATE_EPOCH is set. A source that was
# unpacked from an archive has no commit; its change log has a date.
source_date() {
    if [ -n "${SOURCE_DATE_EPOCH-}" ]; then
        echo "$SOURCE_DATE_EPOCH"
    else
        git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md
    fi
}

# Run a command so that its output has the date of the source, no name of this folder, and nothing for a debugger.
reproducibly() {
    SOURCE_DATE_EPOCH=$(source_date) TZ=UTC LC_ALL=C.UTF-8 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
        CFLAGS="-ffile-prefix-map=$PWD=. ${CFLAGS-}" LDFLAGS="-Wl,--strip-all ${LDFLAGS-}" "$@"
}

# build/packaging: an environment of Debian's Python with the tools of requirements/package.txt.
packaging_venv() {
    "$DEBIAN_PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "run as root: sh scripts/setup package"
    wanted="$("$DEBIAN_PYTHON" -V) $(sha256sum <requirements/package.txt)"
    [ -f "$PACKAGING/stamp" ] && [ "$(cat "$PACKAGING/stamp")" = "$wanted" ] && return
    say "installing the tools of requirements/package.txt into build/packaging"
    "$DEBIAN_PYTHON" -m venv --clear "$PACKAGING"
    "$PACKAGING/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        -r requirements/package.txt
    printf '%s\n' "$wanted" >"$PACKAGING/stamp"
}

project_version() { sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/pcgrelay/__init__.py; }

# The C library that a wheel needs is the one it was built with, or an earlier one; scripts/wheel_is_portable.py looks.
wheel_platform() { echo "manylinux_$(getconf GNU_LIBC_VERSION | sed 's/glibc //; s/\./_/')_$(uname -m)"; }

debian_release() { sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release; }

# wheel_built system|wheel FOLDER: build a wheel there, whose libcrypto is the system's or its own, and leave its name
# in WHEEL.
wheel_built() {
    case "$1" in wheel) base=build/wheel platform=$(wheel_platform) ;; *) base=build/packaged platform=linux_$(uname -m) ;; esac
    # What an earlier build left would be packed too.
    rm -rf "$base/lib" "$2"
    PCGRELAY_LIBCRYPTO=$1 PCGRELAY_BUILD_BASE=$base reproducibly "$PACKAGING/bin/python" -m build --quiet --wheel \
        --no-isolation "--config-setting=--build-option=--plat-name=$platform" --outdir "$2" . >build/wheel.log 2>&1 ||
        { tail -n 30 build/wheel.log >&2; fail "the wheel does not build; see build/wheel.log."; }
    WHEEL=$(echo "$2"/*.whl)
}
