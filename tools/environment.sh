# Sourced by the commands beside it: `prepare EXTRA...` makes .venv and installs the package with those extras,
# `study NAME ARGUMENT...` runs tools/studies/NAME.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python

prepare() {
    local extras stamp
    extras=$(IFS=,; echo "$*")
    stamp=".venv/installed-$extras"
    if [ ! -x "$python" ]; then
        "${PYTHON:-python3}" -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed"'
        "${PYTHON:-python3}" -m venv .venv
    fi
    if [ ! "$stamp" -nt pyproject.toml ]; then
        echo "Installing prism_compile[$extras] into .venv ..."
        "$python" -m pip install --quiet --disable-pip-version-check \
            --constraint tools/constraints.txt --editable ".[$extras]"
        touch "$stamp"
    fi
}

study() {
    # The profiler's own start and stop messages.
    export KINETO_LOG_LEVEL=${KINETO_LOG_LEVEL:-99}
    PYTHONPATH="tools${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m "studies.$1" "${@:2}"
}
