# Shared by the proofs: a binary, a scratch folder, a server to start, kill and start again, and the closing JSON line.
# Sourced, not run.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
proof=$(basename "$0")
short=$([ "${PROOF:-full}" = short ] && echo 1 || echo 0)

say() { printf '%s: %s\n' "$proof" "$*" >&2; }
fail() { printf '{"type":"proof","proof":"%s","ok":false,"why":"%s"}\n' "$proof" "$*"; exit 1; }
now_ms() { date +%s%3N; }
# The channel that `omctl new channel` makes of a table.
snake() { printf '%s' "$1" | sed -E 's/([a-z0-9])([A-Z])/\1_\2/g' | tr '[:upper:]' '[:lower:]'; }

command -v sqlite3 >/dev/null || fail "the sqlite3 shell is not installed"

if [ -n "${OMCTL_BIN:-}" ]; then
  omctl=$OMCTL_BIN
else
  profile=$([ "$short" = 1 ] && echo "" || echo "--release")
  # shellcheck disable=SC2086 # no profile is no argument
  (cd "$root" && cargo build --quiet $profile --bin omctl)
  omctl=${CARGO_TARGET_DIR:-$root/target}/$([ "$short" = 1 ] && echo debug || echo release)/omctl
fi

scratch=$(mktemp -d)
server_pid=
cleanup() {
  [ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null || true
  if [ -n "${PROOF_KEEP:-}" ]; then say "kept $scratch"; else rm -rf "$scratch"; fi
}
trap cleanup EXIT

# Starts the server of the project in the current folder and waits until it says that it is ready.
start_server() {
  "$omctl" serve --addr "${address:-127.0.0.1:0}" >>"$scratch/serve.out" 2>>"$scratch/serve.log" &
  server_pid=$!
  for _ in $(seq 200); do
    # The newest server.json is this start's own: it names the pid.
    if grep -qs "\"pid\": *$server_pid[,}]" .openmobster/dev/server.json; then
      address=$(sed -n 's/.*"addr": *"\([^"]*\)".*/\1/p' .openmobster/dev/server.json)
      return
    fi
    kill -0 "$server_pid" 2>/dev/null || { cat "$scratch/serve.log" >&2; fail "the server did not start"; }
    sleep 0.05
  done
  fail "the server was not ready within 10 s"
}

kill_server() { kill -9 "$server_pid"; wait "$server_pid" 2>/dev/null || true; server_pid=; }
