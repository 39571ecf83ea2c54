#!/bin/sh
# Makes .venv, or completes it, and installs this checkout into it; does nothing when it is current.
#
#   tools/venv.sh          what is needed to run
#   tools/venv.sh dev      and what is needed to test
#
# Needs a Python 3.11 or 3.12 and no root. Debian's python3 comes without venv's pip (that is python3-venv, another
# package): then a pip that is there already installs into .venv, and if there is none, pip itself is fetched first.
set -eu

cd "$(dirname "$0")/.."
extras=${1:-}
venv=.venv
stamp=$venv/installed
# What the install depends on, the place of the checkout too: an editable install holds it.
current="$(cat pyproject.toml constraints.txt | cksum) $(pwd)"

if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(sed -n 1p "$stamp")" = "$current" ]; then
    installed="$(sed -n 2p "$stamp")"
    if [ -z "$extras" ] || [ "$installed" = "$extras" ]; then
        exit 0
    fi
fi

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
        if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 or 3.12 is here; install one, or name it: make PYTHON=/path/to/python3.11" >&2
    return 3
}

if ! { [ -x "$venv/bin/python" ] && fits "$venv/bin/python"; }; then
    python=$(find_python)
    rm -rf "$venv"
    "$python" -m venv "$venv" >/dev/null 2>&1 || { rm -rf "$venv" && "$python" -m venv --without-pip "$venv"; }
fi

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    if "$python" -m pip --python "$venv/bin/python" --version >/dev/null 2>&1; then
        "$python" -m pip --python "$venv/bin/python" install --quiet pip
    elif ! "$venv/bin/python" tools/fetch_pip.py; then
        cat >&2 <<'MESSAGE'
error: this Python has no pip, and pip could not be fetched. One of these helps:
  apt install python3-venv            (needs root)
  make PYTHON=/path/to/python3.11     (a Python that has pip)
  PIP_WHEEL=/path/to/pip-….whl make   (a wheel of pip that you brought here)
MESSAGE
        exit 3
    fi
fi

rm -f "$stamp"
what=.
[ -z "$extras" ] || what=".[$extras]"
echo "installing jianguan into $venv (once; a few minutes on a slow line)" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$what"
printf '%s\n%s\n' "$current" "$extras" >"$stamp"
