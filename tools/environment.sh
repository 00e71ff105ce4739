# Sourced by the commands beside it: `prepare EXTRA...` makes an environment and installs the package with those
# extras. It is .venv; where PYTHON=python3.13 is given, or torch=2.15.0 set before, one of its own:
# .venv-python3.13-torch-2.15.0. `above EXTRA...` then makes one above it, with what the extras need and it lacks:
# .venv-clients. `study NAME ARGUMENT...` runs tools/studies/NAME.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment=.venv
python=$environment/bin/python

choose() {
    if [ -n "${PYTHON:-}" ]; then
        environment+=-$("$PYTHON" -c 'import sys; print("python{}.{}".format(*sys.version_info))')
    fi
    if [ -n "${torch:-}" ]; then
        environment+=-torch-$torch
    fi
    python=$environment/bin/python
}

prepare() {
    choose
    if [ ! -x "$python" ]; then
        "${PYTHON:-python3}" -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed"'
        "${PYTHON:-python3}" -m venv "$environment"
    fi
    extend "$@"
}

above() {
    local below
    below=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    environment+=-$(IFS=-; echo "$*")
    if [ ! -x "$environment/bin/python" ]; then
        "$python" -m venv "$environment"
    fi
    python=$environment/bin/python
    echo "import site; site.addsitedir('$below')" \
        > "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"
    extend "$@"
}

extend() {
    local extras stamp
    extras=$(IFS=,; echo "$*")
    stamp="$environment/installed-$extras"
    if [ ! "$stamp" -nt pyproject.toml ] || [ ! "$stamp" -nt tools/constraints.txt ]; then
        echo "Installing prism_compile[$extras] into $environment ..."
        install --editable ".[$extras]"
        touch "$stamp"
    fi
}

install() {
    local constraints=tools/constraints.txt
    if [ -n "${torch:-}" ]; then
        constraints=$PWD/$environment/constraints.txt
        { grep -v '^torch==' tools/constraints.txt; echo "torch==$torch"; } > "$constraints"
    fi
    "$python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" "$@"
}

study() {
    # The profiler's own start and stop messages.
    export KINETO_LOG_LEVEL=${KINETO_LOG_LEVEL:-99}
    PYTHONPATH="tools${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m "studies.$1" "${@:2}"
}
