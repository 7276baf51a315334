# What the scenarios share; each sources it first.
set -euo pipefail

PATH=$(dirname "${BASH_SOURCE[0]}"):$PATH
# Kept by belljar when the scenario fails.
work=${BELLJAR_ARTIFACTS:-$(mktemp -d)}

# Every pod at once, in curl's language. The variables are right in a sealed session, where `api-1:8080` would do, and
# in shared isolation, where every pod has a port of the host.
every="http://{$API_1_ADDR,$API_2_ADDR,$API_3_ADDR}"

# url_of POD: where it answers.
url_of() {
    local variable=${1^^}_URL
    variable=${variable//-/_}
    echo "${!variable}"
}

# fail WORD…: ends the scenario.
fail() {
    echo "failed: $*" >&2
    exit 1
}

# equal WHAT WANTED GOT
equal() {
    [[ $2 == "$3" ]] || fail "$1: wanted"$'\n'"$2"$'\n'"got"$'\n'"$3"
}

# sign_up POD: prints the value of the new session's cookie. Curl would keep the cookie for POD alone; here it is
# shown to every pod, as a balancer in front of them would have it.
sign_up() {
    curl -fsS -D - -o "$work/sign-up.json" "$(url_of "$1")/sign-up" -d "name=ada-$RANDOM$RANDOM" |
        sed -n 's/^set-cookie: session=\([^;]*\); HttpOnly.*/\1/p' | grep .
}

# begin_stream POD CHUNKS INTERVAL_MS: prints the new stream's id.
begin_stream() {
    curl -fsS "$(url_of "$1")/streams" -b "session=$cookie" -d "chunks=$2" -d "interval_ms=$3" | jq -er .id
}

# follow POD ID FILE [CURL ARGUMENT…]: writes the stream's events to FILE until POD ends the response, and fails
# where it isn't ended in order.
follow() {
    curl -fsSN --max-time 20 "$(url_of "$1")/streams/$2" -b "session=$cookie" "${@:4}" >"$3"
}

# has_chunk FILE N: waits until FILE has it. Chunks are being sent meanwhile, so this is how "mid-stream" is met.
has_chunk() {
    belljar eventually --within 5s -- grep -q "\"n\":$2," "$1"
}

# chunks FILE: the numbers of the chunks in it, in their order, on one line.
chunks() {
    sed -n 's/^data: //p' "$1" | jq -r 'select(.kind == "chunk").n' | xargs
}

# owners FILE: the pods that worked on the stream, in their order, on one line.
owners() {
    sed -n 's/^data: //p' "$1" | jq -r 'select(.kind == "owner").pod' | xargs
}

# epochs FILE: the epochs of all records in it, in their order, on one line.
epochs() {
    sed -n 's/^data: //p' "$1" | jq -r '.epoch // empty' | xargs -n 1 | uniq | xargs
}

# same_story FILE FILE: both readers were told the same. How often they were told that there is nothing to tell does
# not count.
same_story() {
    diff -u <(grep -v '^:' "$1" | cat -s) <(grep -v '^:' "$2" | cat -s) || fail "two pods tell two stories"
}

# whole FILE N: the stream has ended, with every chunk once and in order, and nobody wrote to it after another had
# taken it over.
whole() {
    equal "chunks in ${1##*/}" "$(seq "$2" | xargs)" "$(chunks "$1")"
    grep -qx 'event: done' "$1" || fail "${1##*/} has no end"
    equal "epochs in ${1##*/}" "$(epochs "$1" | xargs -n 1 | sort -nu | xargs)" "$(epochs "$1")"
}

# handed_on FILE: the work that api-1 began was ended by another pod.
handed_on() {
    [[ $(owners "$1") =~ ^api-1\ .*api-[23]$ ]] || fail "worked on by: $(owners "$1")"
}
