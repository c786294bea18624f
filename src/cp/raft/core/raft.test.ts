// Goal: the rules of the Raft paper that simulation reaches only by luck, one test each.

import { expect, test } from 'bun:test'
import { seededRng } from '../../../lib/rng.ts'
import { Raft } from './raft.ts'
import type { Entry, Index, MemberId, Message, Term } from './types.ts'

const ids = ['a', 'b', 'c'] as MemberId[]
const [a, b, c] = ids as [MemberId, MemberId, MemberId]
const noop = (index: number, term: number): Entry => ({
  index: index as Index,
  term: term as Term,
  payload: { type: 'noop' },
})

function member(entries: readonly Entry[], term: number): Raft {
  const base = { index: 0 as Index, term: 0 as Term, membership: { voters: ids, outgoing: [], learners: [] } }
  const hardState = { term: term as Term, votedFor: null }
  const rng = seededRng(1)
  const options = {
    id: a,
    base,
    entries,
    hardState,
    appliedIndex: 0 as Index,
    rng,
    electionTicks: 10,
    heartbeatTicks: 2,
  }
  return new Raft(options)
}

/** Wins the next election with the vote of `b`. */
function elect(raft: Raft): void {
  const campaign = (): Message[] => {
    for (let tick = 0; tick < 40; tick++) {
      const { messages } = raft.step({ type: 'tick' })
      if (messages.some(({ type }) => type === 'vote')) return [...messages]
    }
    throw new Error('no campaign')
  }
  campaign()
  const reply = { type: 'vote.reply', from: b, to: a, granted: true } as const
  raft.step({ type: 'message', message: { ...reply, pre: true, term: (raft.term + 1) as Term } })
  expect(raft.role).toBe('candidate')
  raft.step({ type: 'message', message: { ...reply, pre: false, term: raft.term } })
  expect(raft.role).toBe('leader')
}

const acknowledge = (raft: Raft, from: MemberId, index: number) =>
  raft.step({
    type: 'message',
    message: {
      type: 'append.reply',
      from,
      to: a,
      term: raft.term,
      ok: true,
      index: index as Index,
      hintTerm: 0 as Term,
      round: 0,
    },
  })

test('entries of earlier terms are not committed by counting (figure 8)', () => {
  const raft = member([noop(1, 1), noop(2, 2)], 3)
  elect(raft)
  raft.step({ type: 'persisted', upTo: 3 as Index, term: raft.term })
  expect(acknowledge(raft, b, 2).committed).toEqual([])
  expect(raft.commitIndex as number).toBe(0)
  expect(acknowledge(raft, b, 3).committed.map(({ index }) => index as number)).toEqual([1, 2, 3])
})

test('a leader does not count its own entry before it is on disk', () => {
  const raft = member([], 1)
  elect(raft)
  expect(acknowledge(raft, b, 1).committed).toEqual([])
  const { committed } = raft.step({ type: 'persisted', upTo: 1 as Index, term: raft.term })
  expect(committed.map(({ index }) => index as number)).toEqual([1])
})

test('a pre-vote raises no term, here or there', () => {
  const raft = member([], 5)
  for (let tick = 0; tick < 40; tick++) raft.step({ type: 'tick' })
  expect(raft.term as number).toBe(5)
  const vote = { type: 'vote', from: c, to: a, term: 9 as Term, lastIndex: 0 as Index, lastTerm: 0 as Term } as const
  const { messages } = raft.step({ type: 'message', message: { ...vote, pre: true, transfer: false } })
  expect(messages).toMatchObject([{ type: 'vote.reply', granted: true, pre: true, term: 9 }])
  expect(raft.term as number).toBe(5)
})

test('a member that was cut off does not depose a leader that is heard', () => {
  const raft = member([], 1)
  const beat = { type: 'append', from: b, to: a, term: 2 as Term, entries: [], round: 0 } as const
  raft.step({
    type: 'message',
    message: { ...beat, prevIndex: 0 as Index, prevTerm: 0 as Term, commitIndex: 0 as Index },
  })
  const vote = { type: 'vote', from: c, to: a, term: 9 as Term, lastIndex: 9 as Index, lastTerm: 8 as Term } as const
  expect(raft.step({ type: 'message', message: { ...vote, pre: false, transfer: false } }).messages).toEqual([])
  expect(raft.leader).toBe(b)
  const { messages } = raft.step({ type: 'message', message: { ...vote, pre: false, transfer: true } })
  expect(messages).toMatchObject([{ type: 'vote.reply', granted: true }])
})

test('a leader that a majority no longer answers steps down', () => {
  const raft = member([], 1)
  elect(raft)
  for (let tick = 0; tick < 25; tick++) raft.step({ type: 'tick' })
  expect(raft.role).not.toBe('leader')
  expect(raft.step({ type: 'propose', id: 1, data: new Uint8Array(1) }).refused).toMatchObject([{ id: 1 }])
})
