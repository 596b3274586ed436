//! Chance, all of it from one seed.

use omctl::clock::Entropy;

/// A seeded stream of decisions. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Rng(Entropy);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Entropy::seeded(seed))
    }

    /// A stream of its own, so that what one part of the simulation asks for does not move what another part gets.
    pub(crate) fn split(&self) -> Self {
        Self::new(self.0.u64())
    }

    pub(crate) fn u64(&self) -> u64 {
        self.0.u64()
    }

    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.0.u64() % limit.max(1)
    }

    pub(crate) fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    pub(crate) fn percent(&self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub(crate) fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u64_pair(self.u64(), self.u64())
    }
}
