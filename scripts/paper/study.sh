# For the scripts beside it.
#
#     study FOLDER [OPTION...] -- WORD...
#
# WORDs are those of a sweep; what comes of it is reported in report/FOLDER, with the OPTIONs of
# `marsbench report`, in scores normalised as in the paper. A scheduler goes on when the sweep is
# handed over: then the same command later reports what is done by then, and hands over what is not.
study() {
    local folder=$1 store=runs word options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    marsbench sweep "$@"
    for word in "$@"; do
        case $word in
            --dry-run | --print-commands) return ;;
            store=*) store=${word#store=} ;;
        esac
    done
    marsbench status "$@"
    if [ -z "$(find "$store" -name record.json -print -quit 2>/dev/null)" ]; then
        echo "No run of $store has finished: give the same command again for its report." >&2
        return
    fi
    marsbench report "$store" --out "report/$folder" --normalise observed "${options[@]}"
}
