//! `mirror completions`: the script by which a shell asks `mirror` what could come next.

use anyhow::{Context, Result};
use clap_complete::env::{EnvCompleter, Fish, Zsh};

use crate::cli;
use crate::output::{ExitStatus, OutputMode};

/// The variable in which the shell's script names the shell; `mirror` then completes and does
/// nothing else.
pub const VARIABLE: &str = "COMPLETE";

/// Bash breaks words at `=`, and clap_complete's own script passes on the pieces: `--config=FILE`
/// would then be three words, of which the last looks like a name. This one joins them again, and
/// takes what bash already has off the answers.
const BASH: &str = r#"_mirror() {
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
"#;

/// The script of a shell.
///
/// # Errors
/// When it cannot be written.
pub fn script(shell: &str) -> Result<String> {
    let completer: &dyn EnvCompleter = match shell {
        "zsh" => &Zsh,
        "fish" => &Fish,
        _ => return Ok(BASH.to_owned()),
    };
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "mirror", "mirror", "mirror", &mut script)
        .context("cannot write the script")?;
    String::from_utf8(script).context("the script is no text")
}

pub(super) fn run(arguments: &cli::Completions, output_mode: OutputMode) -> Result<ExitStatus> {
    Ok(output_mode.print(&script(&arguments.shell)?))
}
