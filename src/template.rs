//! `{node}` and its like in a text.

/// Replaces each `{word}` for which `value` has one, in one pass: what was filled in is not read
/// again. `${word}` belongs to a shell and stays, as does a word that nobody knows.
pub fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (before, from_brace) = rest.split_at(start);
        filled.push_str(before);
        let word = from_brace[1..].find('}').map(|end| &from_brace[1..=end]);
        match word.filter(|_| !before.ends_with('$')).and_then(|word| Some((value(word)?, word.len() + 2))) {
            Some((value, length)) => {
                filled.push_str(&value);
                rest = &from_brace[length..];
            }
            None => {
                filled.push('{');
                rest = &from_brace[1..];
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn fills_in_one_pass_and_leaves_the_shells_own() {
        let value = |word: &str| match word {
            "node" => Some("spb".to_owned()),
            "command" => Some("echo {node}".to_owned()),
            _ => None,
        };
        assert_eq!(fill("{node}: {command}", value), "spb: echo {node}");
        assert_eq!(fill("${node} {other} {", value), "${node} {other} {");
        assert_eq!(fill("a{{node}}b", value), "a{spb}b");
    }
}
