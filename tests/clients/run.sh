#!/usr/bin/env bash
# Real AWS clients, unchanged, against `braidlog serve`: boto3 and the AWS CLI, each in the version of requirements.txt, and the AWS
# SDK for Rust in that of rust/Cargo.lock, over HTTP/1.1 and, with TLS, over HTTP/2.
#
#   tests/clients/run.sh [TEST...]     tests of test_kinesis.py by name; default all, the lines of cli.sh, and rust/
#
#   BRAIDLOG              the program; default: built here, for release
#   BRAIDLOG_VENV         where the clients are installed; default: target/clients-venv
#
# Ends with 77 where the clients can't be had: no python3, no pip, no package index.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

missing() {
    echo "skipped: $1"
    exit 77
}

command -v python3 >/dev/null || missing "there is no python3"
venv=${BRAIDLOG_VENV:-$PWD/target/clients-venv}
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    python3 -m venv "$venv" || missing "python3 can't make a virtual environment"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
        missing "the clients can't be installed"
    cp "$here/requirements.txt" "$venv/installed.txt"
fi

if [ -z "${BRAIDLOG:-}" ]; then
    cargo build --release --bin braidlog
    BRAIDLOG=${CARGO_TARGET_DIR:-target}/release/braidlog
fi

rust_client=$PWD/target/rust-client/debug/braidlog-rust-client
if [ $# -eq 0 ]; then
    command -v openssl >/dev/null || missing "there is no openssl to make a certificate with"
    # Without the crates there is nothing to build; with them it must build.
    (cd "$here/rust" && cargo fetch --locked) || missing "the crates of the AWS SDK for Rust can't be fetched"
    (cd "$here/rust" && cargo build --locked --target-dir "${rust_client%/debug/*}")
fi

work=$(mktemp -d)
servers=()
finish() {
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT

# Starts a server and waits for its last line; where it listens is left in `endpoint`.
serve() {
    local name=$1 line
    shift
    mkfifo "$work/$name"
    "$BRAIDLOG" serve --port 0 --in-memory --strict "$@" >"$work/$name" 2>"$work/$name.log" &
    servers+=($!)
    endpoint=
    while IFS= read -r line; do
        case $line in
            "Listening on http://"* | "Listening on https://"*) endpoint=${line#Listening on } ;;
            Ready.) break ;;
        esac
    done <"$work/$name"
    if [ -z "$endpoint" ]; then
        cat "$work/$name.log"
        exit 1
    fi
}

# A certificate of its own for localhost. Not that of an authority, which clients take for no server.
certificate() {
    printf '%s\n' '[req]' 'prompt = no' 'distinguished_name = name' 'x509_extensions = extensions' '[name]' 'CN = localhost' \
        '[extensions]' 'basicConstraints = critical, CA:FALSE' 'subjectAltName = DNS:localhost, IP:127.0.0.1' >"$work/openssl.cnf"
    openssl req -x509 -config "$work/openssl.cnf" -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -keyout "$2" -out "$1" 2>"$work/openssl.log" || { cat "$work/openssl.log"; exit 1; }
}

# Nothing of the machine's own configuration, and nothing that would reach another service.
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL
export HOME=$work AWS_CONFIG_FILE=$work/config AWS_SHARED_CREDENTIALS_FILE=$work/credentials AWS_EC2_METADATA_DISABLED=true
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_PAGER= AWS_CLI_AUTO_PROMPT=off

printf '[default]\naws_access_key_id = 123456789012\naws_secret_access_key = known\n' >"$work/keys"
chmod 600 "$work/keys"
serve open
open=$endpoint
serve limited --throughput-limits enforce
limited=$endpoint
serve signed --credentials "$work/keys"
signed=$endpoint

status=0
"$venv/bin/python" "$here/test_kinesis.py" "$open" "$limited" "$signed" "$@" || status=$?
if [ $# -eq 0 ]; then
    PATH=$venv/bin:$PATH "$here/cli.sh" "$open" || status=$?
    "$rust_client" "$open" || status=$?
    certificate "$work/cert.pem" "$work/key.pem"
    serve tls --log debug --tls-cert "$work/cert.pem" --tls-key "$work/key.pem"
    # Its last line of where it listens is that of TLS.
    "$rust_client" "$endpoint" "$work/cert.pem" || status=$?
    # It puts while it is subscribed: over one connection only where that is HTTP/2.
    connections=$(grep -o 'peer=[0-9.:]*' "$work/tls.log" | sort -u | wc -l)
    if [ "$connections" -ne 1 ]; then
        echo "FAILED rust: it took $connections connections, so it was not HTTP/2"
        status=1
    fi
fi
if [ $status -ne 0 ]; then
    tail -n 50 "$work"/*.log
fi
exit $status
