// Randomness is injected. `systemRng` is cryptographic; `seededRng` replays.

export interface Rng {
  /** A uniform integer in [0, bound); bound is 1 to 2^32. */
  below(bound: number): number
  /** `length` uniform bytes, owned by the caller. */
  bytes(length: number): Uint8Array
}

export const systemRng: Rng = {
  below(bound) {
    const word = new Uint32Array(1)
    const limit = 2 ** 32 - (2 ** 32 % bound)
    do crypto.getRandomValues(word)
    while (word[0]! >= limit)
    return word[0]! % bound
  },
  bytes(length) {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += 65_536)
      crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)))
    return bytes
  },
}

/** SplitMix32: fast, seedable, good enough for tests, simulation and jitter; never for secrets. */
export function seededRng(seed: number): Rng {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
    return (z ^ (z >>> 16)) >>> 0
  }
  return {
    below: (bound) => next() % bound,
    bytes(length) {
      const bytes = new Uint8Array(length)
      for (let i = 0; i < length; i++) bytes[i] = next() & 255
      return bytes
    },
  }
}

/** A uniform number in [0, 1). */
export function uniform(rng: Rng): number {
  return rng.below(2 ** 32 - 1) / (2 ** 32 - 1)
}
