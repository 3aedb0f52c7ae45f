# For the scripts beside it.
#
#     study FOLDER [OPTION...] -- WORD...
#
# WORDs are arguments of a sweep. Its runs are reported in report/FOLDER, with the OPTIONs of
# `marsbench report`, in scores normalised as in the paper. Options among the WORDs, such as
# --retry-failed or --shard 1/4, are for the sweep alone. With a scheduler, the
# command returns after submitting; repeat it later to report finished runs and submit the rest.
study() {
    local folder=$1 store=runs word options=() words=()
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
            -*) continue ;;
            store=*) store=${word#store=} ;;
        esac
        case $word in
            *=*) words+=("$word") ;;
        esac
    done
    marsbench status "${words[@]}"
    marsbench report "$store" "${words[@]}" --out "report/$folder" --normalise observed "${options[@]}"
}
