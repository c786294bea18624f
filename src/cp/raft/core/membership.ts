// Membership changes in two steps: a joint entry, and once that is committed the final one.

import type { MemberId, Membership } from './types.ts'

export function isVoter(membership: Membership, id: MemberId): boolean {
  return membership.voters.includes(id) || membership.outgoing.includes(id)
}

/** Everybody who gets entries, each once. */
export function membersOf(membership: Membership): MemberId[] {
  return [...new Set([...membership.voters, ...membership.outgoing, ...membership.learners])]
}

/** The first step. Null when the wish makes no sense: no voters, doubles, or a change is under way. */
export function jointMembership(
  current: Membership,
  wish: { readonly voters: readonly MemberId[]; readonly learners: readonly MemberId[] },
): Membership | null {
  const all = [...wish.voters, ...wish.learners]
  if (current.outgoing.length > 0 || wish.voters.length === 0 || new Set(all).size !== all.length) return null
  return { voters: wish.voters, outgoing: current.voters, learners: wish.learners }
}

/** The second step. */
export function finalMembership(joint: Membership): Membership {
  return { ...joint, outgoing: [] }
}
