#!/usr/bin/env bash
# Fetch the intracardiac dataset of UC San Diego (tasks 3 and 4) into intracardiac_dataset/ beside this file.
#
#     bash download_intracardiac_dataset.sh
#
# Needs 5.2 GB, about 1 GB more while it works, and curl or wget. Break it off whenever you like: started again it goes
# on where it was, and fetches only what is missing. It ends well (status 0) once all 16117 pairs are there.
#
# Settings, all optional, as environment variables:
#     CARDIAC_ML_DOWNLOAD_FOLDER   where to put the dataset
#     CARDIAC_ML_DOWNLOAD_URL      base address; an archive is at <base>/_<number>_1.tgz/download
#     CARDIAC_ML_DOWNLOAD_PARTS    numbers of the archives ("2 3 ... 22")
#     CARDIAC_ML_DOWNLOAD_PAIRS    how many pairs make it complete (16117)
#     CARDIAC_ML_DOWNLOAD_TRIES    how often to try without progress before giving an archive up (8)
#     CARDIAC_ML_DOWNLOAD_PAUSE    seconds before the second try, doubled each time up to 60 (2)
#     CARDIAC_ML_DOWNLOAD_MB       megabytes that must be free (worked out from what is there already)

# Sourced, or run by another shell: a bash of its own does the work, so nothing of it is left in yours.
if [ -z "${BASH_VERSION:-}" ] || [ "${BASH_SOURCE:-}" != "$0" ]; then
    if [ -n "${ZSH_VERSION:-}" ]; then
        eval 'command bash "${(%):-%x}"'
    elif [ -n "${BASH_SOURCE:-}" ]; then
        command bash "$BASH_SOURCE"
    else  # such a shell does not tell a sourced file its name: $0 is that of the caller
        case $0 in
            download_intracardiac_dataset.sh | */download_intracardiac_dataset.sh) command bash "$0" "$@" ;;
            *) echo "Run this with bash: bash download_intracardiac_dataset.sh" >&2; false ;;
        esac
    fi
    return $?
fi

set -u
export LC_ALL=C
# Nothing from outside may change what tar, gzip and grep do.
unset TAR_OPTIONS GZIP GREP_OPTIONS CDPATH

base=${CARDIAC_ML_DOWNLOAD_URL:-https://library.ucsd.edu/dc/object/bb29449106}
base=${base%/}
parts=${CARDIAC_ML_DOWNLOAD_PARTS:-2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22}
pairs_wanted=${CARDIAC_ML_DOWNLOAD_PAIRS:-16117}
most_tries=${CARDIAC_ML_DOWNLOAD_TRIES:-8}
first_pause=${CARDIAC_ML_DOWNLOAD_PAUSE:-2}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${CARDIAC_ML_DOWNLOAD_FOLDER:-$here/intracardiac_dataset}
work=                   # downloads in progress, and a list of files for each archive that is done
files_there=            # the files that are unpacked, one a line

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
size_of() { if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
megabytes() { echo $((($1 + 500000) / 1000000)); }

# --- pairs ---------------------------------------------------------------------------------------------------------

names_of() {  # names_of pECGData: the files of that kind, without the kind, so that partners have one name
    (cd "$target" && find . -path ./.download -prune -o -type f -size +0 -name "$1*.npy" -print) |
        sed "s|/$1\([^/]*\)\$|/\1|" | sort
}

count_pairs() {  # sets pairs, ecg_alone, voltage_alone
    names_of pECGData >"$work/ecg.list"
    names_of VmData >"$work/voltage.list"
    pairs=$(comm -12 "$work/ecg.list" "$work/voltage.list" | wc -l | tr -d ' ')
    ecg_alone=$(comm -23 "$work/ecg.list" "$work/voltage.list" | wc -l | tr -d ' ')
    voltage_alone=$(comm -13 "$work/ecg.list" "$work/voltage.list" | wc -l | tr -d ' ')
    rm -f "$work/ecg.list" "$work/voltage.list"
}

# --- space and lock ------------------------------------------------------------------------------------------------

free_mb() { df -Pk "$target" | awk 'NR == 2 { print int($4 / 1000) }'; }

check_space() {
    local free there need
    free=$(free_mb)
    there=$(du -sk "$target" | awk 'NR == 1 { print int($1 / 1000) }')
    need=$((5200 + 1000 - there))
    [ "$need" -lt 1000 ] && need=1000
    need=${CARDIAC_ML_DOWNLOAD_MB:-$need}
    say "The dataset takes 5200 MB unpacked, one archive more while it is fetched: $need MB must be free, $free MB are."
    [ "$free" -ge "$need" ] || fail "Too little space in $target. Free some, or name another place:" \
        "CARDIAC_ML_DOWNLOAD_FOLDER=/large/disk/intracardiac_dataset bash download_intracardiac_dataset.sh"
}

identity() {  # identity PROCESS: when it started, nothing if it has ended; a number alone may be another's by now
    if [ -r "/proc/$1/stat" ]; then awk '$3 != "Z" { print $22 }' "/proc/$1/stat" 2>/dev/null
    else ps -o lstart= -p "$1" 2>/dev/null; fi
}

lives() { [ -s "$1" ] && [ "$(cat "$1")" = "$(identity "${1##*.}")" ]; }  # lives FILE.PROCESS, which holds an identity

lock() {  # Two downloads at once would write the same files. Of two that come together, the lower number goes on
    local other
    identity $$ >"$work/.mine.$$" && mv -f "$work/.mine.$$" "$work/wants.$$" ||
        fail "Nothing can be written to $work. Name another place with CARDIAC_ML_DOWNLOAD_FOLDER."
    for other in "$work"/wants.* "$work"/works.*; do
        while [ "${other##*.}" != $$ ] && lives "$other" && [ "${other%.*}" = "$work/wants" ] &&
            [ "${other##*.}" -gt $$ ]; do sleep 0.1; done  # it will see this one and give up, or is at work already
    done
    for other in "$work"/wants.* "$work"/works.*; do
        [ "${other##*.}" = $$ ] && continue
        if lives "$other"; then
            [ "${other%.*}" = "$work/wants" ] && [ "${other##*.}" -gt $$ ] && continue  # came later, will give up
            rm -f "$work/wants.$$"
            fail "Another download (process ${other##*.}) is at work in $target. Wait for it or stop it."
        fi
        rm -f "$other"
    done
    mv -f "$work/wants.$$" "$work/works.$$"
    trap 'rm -rf "$work/works.$$" "$work"/unpacking.* "$work/names" "$work/kinds" "$work/there" "$work"/*.log' EXIT
    trap 'stop 130' INT
    trap 'stop 143' TERM HUP
    for other in "$work"/client.*; do  # of a download that was killed: it would go on writing
        lives "$other" && kill "${other##*.}"
        rm -f "$other"
    done
}

running=
patiently() {  # patiently COMMAND...: so that a signal is obeyed at once, not when the command has ended
    local status
    "$@" &
    running=$!
    identity "$running" >"$work/client.$running"
    wait "$running"
    status=$?
    rm -f "$work/client.$running"
    running=
    return $status
}

stop() {
    [ -n "$running" ] && kill "$running" 2>/dev/null && wait "$running" 2>/dev/null
    rm -f "$work"/client.*
    exit "$1"
}

# --- fetching ------------------------------------------------------------------------------------------------------

fetch_once() {  # fetch_once ADDRESS FILE: go on with FILE. Sets answer: whole, broken, restart, refused or full
    local code status
    if [ "$client" = curl ]; then  # -q, --no-config: settings of this user might write elsewhere
        patiently curl -q --fail --location --connect-timeout 30 --speed-limit 100 --speed-time 60 "$display" \
            --show-error --continue-at - --write-out '%{http_code}' --output "$2" "$1" >"$work/curl.log"
        status=$?
        code=$(cat "$work/curl.log")
    else
        [ -s "$2" ] && cp "$2" "$2.kept"  # where the server cannot go on in the middle, wget begins again over it
        patiently wget --no-config --no-verbose --show-progress --continue --tries=1 --timeout=60 \
            --output-document="$2" "$1" --output-file="$work/wget.log"
        status=$?
        code=$(sed -n 's/.*ERROR \([0-9][0-9]*\).*/\1/p' "$work/wget.log" | tail -n 1)
        cat "$work/wget.log" >&2
    fi
    case $client:$status:$code in
        curl:23:* | wget:3:*) answer=full; heard=yes; return ;;
    esac
    case $status:$code in
        0:*) answer=whole ;;
        33:* | 36:* | *:416) answer=restart ;;  # it cannot go on in the middle
        *:408 | *:429) answer=broken ;;
        *:4??) answer=refused ;;
        *:000 | *:) answer=broken; return ;;  # perhaps not even a connection
        *) answer=broken ;;
    esac
    heard=yes
}

is_gzip() { [ "$(head -c 2 "$1" 2>/dev/null | od -An -tx1 | tr -d ' ')" = 1f8b ]; }

take_back() {  # take_back FILE: what was kept, if what came in its place is a page to log in, or less of the same
    [ -s "$1.kept" ] || return
    if is_gzip "$1" && [ "$(size_of "$1")" -ge "$(size_of "$1.kept")" ]; then rm -f "$1.kept"
    else mv -f "$1.kept" "$1"; fi
}

accepted() {  # accepted FILE CHECK: what came passes, in silence; a server may lie about the length
    [ -s "$1" ] && { [ "$answer" = whole ] || [ "$2" = opens ]; } && "$2" "$1" >/dev/null
}

fetch() {  # fetch ADDRESS FILE CHECK: until CHECK accepts the file or hope is lost. Sets heard: whether anything came
    local tries=0 refusals=0 attempts=0 stale=0 pause=$first_pause best now
    heard=yes answer=
    if [ -s "$2" ] && "$3" "$2" >/dev/null; then return; fi  # killed while it was unpacked
    take_back "$2.part"
    best=$(size_of "$2.part")
    if accepted "$2.part" "$3"; then mv -f "$2.part" "$2"; return; fi
    heard=no
    while [ "$tries" -lt "$most_tries" ] && [ "$refusals" -lt 2 ] && [ "$attempts" -lt 200 ]; do
        if [ "$attempts" -gt 0 ]; then
            say "    again in $pause s, with the $(megabytes "$(size_of "$2.part")") MB that are here"
            patiently sleep "$pause"
            pause=$((pause * 2 > 60 ? 60 : pause * 2))
        fi
        attempts=$((attempts + 1)) tries=$((tries + 1))
        fetch_once "$1" "$2.part"
        if accepted "$2.part" "$3"; then
            heard=yes
            mv -f "$2.part" "$2"
            rm -f "$2.part.kept"
            return
        fi
        now=$(size_of "$2.part")
        case $answer in
            whole) "$3" "$2.part"
                if [ -s "$2.part.kept" ] && ! is_gzip "$2.part"; then take_back "$2.part"
                elif [ "$now" = "$best" ] && [ "$stale" -lt 2 ]; then stale=$((stale + 1))  # wget with a shorter page
                else rm -f "$2.part" "$2.part.kept"; fi ;;
            restart) [ "$now" = 0 ] || mv -f "$2.part" "$2.part.kept" ;;
            refused) refusals=$((refusals + 1)) ;;
            full) say "    it cannot be written; is the disk full? ($(free_mb) MB are free)"; return 1 ;;
            broken) if [ "$now" -gt "$best" ]; then best=$now tries=0 pause=$first_pause heard=yes; fi ;;
        esac
    done
    take_back "$2.part"
    return 1
}

# --- archives ------------------------------------------------------------------------------------------------------

opens() {  # whether all of the archive can be read; lists what it holds in names and kinds
    if ! gzip -t "$1" 2>/dev/null; then say "    what came is not a whole archive"; return 1; fi
    tar -tzf "$1" >"$work/names" 2>/dev/null && tar -tvzf "$1" >"$work/kinds" 2>/dev/null && [ -s "$work/names" ] &&
        return
    say "    what came is not an archive of files"
    return 1
}

harmless() {  # after opens: whether it holds only files and folders that stay inside
    local bad
    bad=$(grep -E '^/|^~|(^|/)[.][.](/|$)|[\]' "$work/names" | head -n 1)
    [ -n "$bad" ] || bad=$(grep -v '^[-d]' "$work/kinds" | head -n 1)
    [ -z "$bad" ] && return
    say "    refused, since it would write outside the folder or make a link: $bad"
    return 1
}

move_into() {  # move_into FROM TO: all that FROM holds, folders of the same name joined
    local entry name
    for entry in "$1"/* "$1"/.[!.]*; do
        [ -e "$entry" ] || continue
        name=${entry##*/}
        if [ -d "$entry" ] && [ -d "$2/$name" ]; then
            find "$entry" -maxdepth 1 -type f -exec sh -c 'to=$1; shift; mv -f "$@" "$to"' sh "$2/$name" {} + &&
                move_into "$entry" "$2/$name" || return 1
        else
            mv -f "$entry" "$2/$name" || return 1
        fi
    done
}

unpack() {  # unpack ARCHIVE PART: beside the dataset first, into it only when whole
    local space="$work/unpacking.$2"
    rm -rf "$space" && mkdir "$space" || return 1
    # Nobody else's files and no rights of others, also when root unpacks.
    if tar -xzof "$1" -C "$space" 2>"$work/tar.log" && chmod -R u+rwX,ug-s,-t "$space" 2>>"$work/tar.log" &&
        (cd "$space" && find . -type f -size +0 | sort) >"$work/files" && move_into "$space" "$target"; then
        mv -f "$work/files" "$work/part_$2.done"  # from here on the part counts as there
        rm -rf "$space" "$1"
    else
        rm -rf "$space"
        say "    it could not be unpacked ($(free_mb) MB are free): $(head -n 1 "$work/tar.log")"
        return 1
    fi
}

part_is_there() {  # its list exists, and every file on it
    [ -s "$work/part_$1.done" ] && [ -z "$(comm -23 "$work/part_$1.done" "$files_there" | head -n 1)" ]
}

get_part() {
    local archive="$work/part_$1.tgz" status
    say "Part $1: $base/_$1_1.tgz/download"
    fetch "$base/_$1_1.tgz/download" "$archive" opens || return 1
    say "    $(megabytes "$(size_of "$archive")") MB, unpacking"
    harmless && unpack "$archive" "$1"
    status=$?
    rm -f "$archive"
    return $status
}

not_empty() { [ -s "$1" ]; }

get_readme() {
    [ -s "$target/README.md" ] && return
    say "The description: $base/_1_1.md/download"
    fetch "$base/_1_1.md/download" "$work/readme" not_empty && mv -f "$work/readme" "$target/README.md"
}

# --- all of it -----------------------------------------------------------------------------------------------------

choose_client() {
    display=--silent
    [ -t 2 ] && display=--progress-bar
    if command -v curl >/dev/null; then client=curl
    elif command -v wget >/dev/null; then client=wget
    else fail "Neither curl nor wget is here. Install one, for example: sudo apt install curl"; fi
}

report() {  # report MISSING...: how many pairs there are; the status tells whether that is all
    count_pairs
    say ""
    say "$pairs of $pairs_wanted pairs are in $target."
    [ "$ecg_alone" -gt 0 ] && say "$ecg_alone pECGData files have no VmData file beside them."
    [ "$voltage_alone" -gt 0 ] && say "$voltage_alone VmData files have no pECGData file beside them."
    if [ $# -gt 0 ]; then say "Missing: $*. Run this again: it fetches only what is missing."; return 1; fi
    [ "$pairs" -ge "$pairs_wanted" ] && return 0
    say "Every part is unpacked, yet pairs are missing. If you deleted some, delete $work too and run this again."
    return 1
}

main() {
    local part missing="" number=0 total
    mkdir -p "$target/.download" ||
        fail "$target could not be made. Name another place with CARDIAC_ML_DOWNLOAD_FOLDER."
    target=$(cd "$target" && pwd)
    work=$target/.download files_there=$target/.download/there
    lock
    rm -rf "$work"/unpacking.*
    count_pairs
    if [ "$pairs" -ge "$pairs_wanted" ]; then say "All $pairs pairs are in $target already."; return 0; fi
    choose_client
    check_space
    (cd "$target" && find . -path ./.download -prune -o -type f -size +0 -print | sort) >"$files_there"
    heard=yes
    get_readme || missing=", the description"
    # shellcheck disable=SC2086
    total=$(set -- $parts; echo $#)
    for part in $parts; do
        if [ "$heard" = no ]; then
            say "Nothing comes from $base: is there a network? Stopping here."
            missing="$missing, all from part $part on"
            break
        fi
        number=$((number + 1))
        if part_is_there "$part"; then
            say "Part $part is there ($number of $total)"
            rm -f "$work/part_$part.tgz"*
            continue
        fi
        if get_part "$part"; then say "    done ($number of $total)"; else
            say "    given up for now ($number of $total)"
            missing="$missing, part $part"
        fi
    done
    if [ -n "$missing" ]; then report "${missing#, }"; else report; fi
}

case ${1:-} in
    "") ;;
    -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "$1 means nothing here. bash download_intracardiac_dataset.sh --help tells what can be set." ;;
esac
main
