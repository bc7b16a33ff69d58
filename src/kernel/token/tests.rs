use super::*;
use crate::kernel::idle::lanes::Tenancy;

#[test]
fn pack_and_unpack_at_the_edges() {
    for lane in [0, 1, u16::MAX] {
        for generation in [0, 1, LAST_GENERATION] {
            for slot in [0, 1, MAX_SLOTS as u32 - 1] {
                let token = Token::new(lane, generation, slot);
                assert_eq!((token.lane(), token.generation(), token.slot()), (lane, generation, slot));
                assert_eq!(Token::from_bits(token.bits()), token);
            }
        }
    }
}

#[test]
fn tenancy_has_the_tokens_of_its_lane_from_a_generation_on() {
    let tenancy = Tenancy::new(7, 41);
    let has = |lane, generation| tenancy.has(Token::new(lane, generation, 9));
    assert_eq!([has(7, 40), has(7, 41), has(7, 42), has(6, 41), has(8, 0)], [false, true, true, false, false]);
    assert!(tenancy.has(Token::unplaced(7)) && !tenancy.has(Token::NOBODY));
}
