_mirror() {
    local IFS=$'\013' words=() index=0 head="" i
    for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
        local word=${COMP_WORDS[i]} last=$((${#words[@]} - 1)) piece=""
        ((i == COMP_CWORD)) && [[ $word != "=" ]] && word=$2
        if ((last >= 0)); then
            [[ $word == "=" && ${words[last]} == --* && ${words[last]} != *=* ]] && piece=1
            [[ ${words[last]} == --*= && ${COMP_WORDS[i - 1]} == "=" ]] && piece=1
        fi
        if [[ $piece ]]; then
            ((i == COMP_CWORD)) && head=${words[last]%=}=
            words[last]+=$word
        else
            words+=("$word")
        fi
        ((i == COMP_CWORD)) && index=$((${#words[@]} - 1))
    done
    COMPREPLY=($(_CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX="$index" COMPLETE="bash" mirror -- "${words[@]}")) || {
        COMPREPLY=()
        return
    }
    COMPREPLY=("${COMPREPLY[@]#"$head"}")
    [[ ${COMPREPLY-} == *[=/:] ]] || compopt +o nospace 2>/dev/null
}
complete -o nospace -o bashdefault -o nosort -F _mirror mirror
