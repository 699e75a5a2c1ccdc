//! Who gets what there is not enough of.
//!
//! Nobody has more than a share; when all is taken, who has most of it loses the oldest, for one who has less. So one
//! container that asks without end cannot keep the others from asking.

use std::collections::HashMap;
use std::net::IpAddr;

/// Whether there is room for one more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room<T> {
    Free,
    /// This one goes for it.
    Instead(T),
    None,
}

/// Whether `who` gets one more, of `all` that there are and `share` for each. The holders come oldest first.
pub(crate) fn room<T>(
    holders: impl IntoIterator<Item = (IpAddr, T)>,
    who: IpAddr,
    share: usize,
    all: usize,
) -> Room<T> {
    let mut held: HashMap<IpAddr, (usize, T)> = HashMap::new();
    let mut total = 0;
    for (holder, thing) in holders {
        total += 1;
        held.entry(holder).or_insert((0, thing)).0 += 1;
    }
    let own = held.get(&who).map_or(0, |(count, _)| *count);
    if own >= share {
        return Room::None;
    }
    if total < all {
        return Room::Free;
    }
    match held.into_values().max_by_key(|(count, _)| *count) {
        Some((most, oldest)) if most > own => Room::Instead(oldest),
        _ => Room::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_most_gives_way() {
        for (name, holders, who, expected) in [
            ("there is room", vec![1, 1], 1, Room::Free),
            ("a share is used up", vec![1, 1, 1], 1, Room::None),
            ("another's is not", vec![1, 1, 1], 2, Room::Free),
            ("all is taken", vec![2, 1, 1, 1], 2, Room::Instead(1)),
            ("by many", vec![2, 1, 1, 2], 3, Room::Instead(0)),
            ("and by nobody else", vec![1, 2, 3, 4], 1, Room::None),
            ("but somebody who has nothing", vec![1, 1, 1, 1], 2, Room::Instead(0)),
        ] {
            let address = |nth: u8| IpAddr::from([10, 0, 0, nth]);
            let held = holders.iter().enumerate().map(|(index, nth)| (address(*nth), index));
            let got = room(held, address(who), 3, 4);
            // Of several who have the same, any.
            let got = if name == "by many" && got == Room::Instead(1) { Room::Instead(0) } else { got };
            assert_eq!(got, expected, "{name}");
        }
    }
}
