#!/usr/bin/env bash
# Finds what a user must have installed himself: `host.sh python` and `host.sh java` print the executable's path,
# or say what is missing and how to get it, and end with 78 (configuration).
# A shell script because it runs before there is a Python environment.
set -euo pipefail

missing() { # what, why, Debian's package, Homebrew's package
  cat >&2 <<MESSAGE
Sluice needs $1: $2
  Debian or Ubuntu: sudo apt-get install $3
  macOS:            brew install $4
Then run the same make command again.
MESSAGE
  exit 78
}

python_path() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3 python; do
    # A version manager's shim may exist for a version that is not installed: only what runs counts.
    if [[ -n $candidate ]] && "$candidate" -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  missing "Python 3.11 with venv" "no python3.11, python3 or \$PYTHON of that version was found." \
    "python3.11 python3.11-venv" "python@3.11"
}

java_path() {
  local java=java release
  if [[ -n ${JAVA_HOME:-} ]]; then java="$JAVA_HOME/bin/java"; fi
  if ! release=$("$java" -version 2>&1); then
    missing "Java 17" "'$java' does not run${JAVA_HOME:+ (JAVA_HOME is $JAVA_HOME)}." openjdk-17-jre-headless openjdk@17
  fi
  release=$(sed -nE 's/.*version "([0-9]+).*/\1/p' <<<"$release" | head -n 1)
  if ((${release:-0} < 17)); then
    missing "Java 17" "'$java' is version ${release:-unknown}." openjdk-17-jre-headless openjdk@17
  fi
  command -v "$java"
}

case "${1:-}" in
  python) python_path ;;
  java) java_path ;;
  *)
    echo "usage: tools/host.sh python|java" >&2
    exit 64
    ;;
esac
