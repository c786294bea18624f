// Majorities, of one group or of two at once while membership changes.

import type { Index, MemberId, Membership } from './types.ts'

const majority = (count: number) => Math.floor(count / 2) + 1

function hasMajority(group: readonly MemberId[], isFor: (id: MemberId) => boolean): boolean {
  return group.filter(isFor).length >= majority(group.length)
}

/** True when `isFor` holds for a majority of the voters, and of the outgoing ones while there are any. */
export function hasQuorum(membership: Membership, isFor: (id: MemberId) => boolean): boolean {
  if (!hasMajority(membership.voters, isFor)) return false
  return membership.outgoing.length === 0 || hasMajority(membership.outgoing, isFor)
}

/** The highest index that a quorum holds. */
export function quorumIndex(membership: Membership, matchOf: (id: MemberId) => Index): Index {
  const ofGroup = (group: readonly MemberId[]): number => {
    const sorted = group.map((id): number => matchOf(id)).sort((a, b) => b - a)
    return sorted[majority(group.length) - 1]!
  }
  const current = ofGroup(membership.voters)
  const index = membership.outgoing.length === 0 ? current : Math.min(current, ofGroup(membership.outgoing))
  return index as Index
}
