//! Names for containers that nobody named: two words that are easy to say and to remember.

use crate::error::Error;

const FIRST: &[&str] = &[
    "able", "amber", "ample", "bold", "brave", "brisk", "calm", "clear", "clever", "cosy", "crisp", "eager", "early",
    "easy", "fair", "fine", "fond", "frank", "fresh", "gentle", "glad", "grand", "happy", "hardy", "honest", "humble",
    "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "merry", "mild", "modest", "neat", "nimble", "noble",
    "patient", "plain", "plucky", "polite", "proud", "quick", "quiet", "rapid", "ready", "sharp", "sincere", "sober",
    "solid", "steady", "still", "sunny", "swift", "tidy", "tough", "upright", "vivid", "warm", "wise", "witty",
    "young",
];
const SECOND: &[&str] = &[
    "alder", "aspen", "badger", "beaver", "beech", "birch", "bison", "brook", "cedar", "crane", "cricket", "dove",
    "eagle", "elm", "falcon", "fern", "finch", "fir", "fox", "grouse", "hare", "hawk", "hazel", "heron", "holly",
    "ibis", "ivy", "jay", "kestrel", "kite", "larch", "lark", "linden", "lynx", "maple", "marten", "meadow", "moss",
    "newt", "oak", "osprey", "otter", "owl", "pine", "plover", "poplar", "puffin", "quail", "raven", "reed", "robin",
    "rowan", "sable", "sedge", "sorrel", "sparrow", "stork", "swan", "teal", "thrush", "trout", "vole", "willow",
    "wren",
];
/// How often another name is tried when one is taken; later ones have a number behind them.
const TRIES: u32 = 20;

/// Has `take` try names until it takes one.
pub(crate) fn with_any<T>(mut take: impl FnMut(&str) -> Result<T, Error>) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        let mut bytes = [0; 4];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        got.map_err(Error::file("read random bytes from", "the kernel"))?;
        let [first, second, number, more] = bytes;
        let word =
            |words: &[&'static str], at: u8| words.get(usize::from(at) % words.len()).copied().unwrap_or_default();
        let mut name = format!("{}_{}", word(FIRST, first), word(SECOND, second));
        if tries > 3 {
            name += &u16::from_le_bytes([number, more]).to_string();
        }
        match take(&name) {
            Err(Error::NameTaken { .. }) if tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_and_others_are_tried() {
        for word in FIRST.iter().chain(SECOND) {
            assert!(crate::parse::name(word).is_ok(), "{word}");
        }
        let taken = || Error::NameTaken { name: String::new(), id: String::new() };
        let mut tried = Vec::new();
        let name = with_any(|name| {
            tried.push(name.to_owned());
            if tried.len() < 10 { Err(taken()) } else { Ok(name.to_owned()) }
        });
        assert_eq!(name.ok().as_ref(), tried.last());
        assert!(tried.iter().all(|name| crate::parse::name(name).is_ok()), "{tried:?}");
        assert!(with_any::<()>(|_| Err(taken())).is_err());
    }
}
