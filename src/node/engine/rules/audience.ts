// Whom a rule or filter can tell apart. Thousands of realtime clients hear of one change; those that its rule cannot tell
// apart are judged once.

import { LruMap } from '../../../lib/lru.ts'
import { type Expression, type Group, isGroup, type Operand, parseFilter } from '../filter/parser.ts'
import type { EngineRecord } from '../records/record.ts'

/**
 * From coarse to fine. `all`: nobody from anybody. `signed_in`: guests from others. `collection`: auth records by their
 * collection. `each`: every auth record from every other.
 */
const audiences = ['all', 'signed_in', 'collection', 'each'] as const
export type Audience = (typeof audiences)[number]

const known = new LruMap<string, Audience>(500)

/** The finest distinction that any of these texts makes; one that cannot be read may make any. */
export function audienceOf(...texts: readonly string[]): Audience {
  let finest = 0
  for (const text of texts) finest = Math.max(finest, audiences.indexOf(audienceOfOne(text)))
  return audiences[finest]!
}

function audienceOfOne(text: string): Audience {
  if (text.trim() === '') return 'all'
  const before = known.get(text)
  if (before !== undefined) return before
  const parsed = parseFilter(text)
  const audience = parsed.ok ? ofGroup(parsed.value) : 'each'
  known.set(text, audience)
  return audience
}

/** Whether a filter may look at more than the fields of the record itself. */
export function followsPaths(filter: string): boolean {
  if (!filter.includes('.')) return false
  const parsed = parseFilter(filter)
  return !parsed.ok || operandsOf(parsed.value).some((each) => each.kind === 'identifier' && each.text.includes('.'))
}

function operandsOf(group: Group): Operand[] {
  const withArguments = (operand: Operand): Operand[] =>
    operand.kind === 'function' ? operand.args.flatMap(withArguments) : [operand]
  return group.items.flatMap(({ node }) =>
    isGroup(node) ? operandsOf(node) : [...withArguments(node.left), ...withArguments(node.right)],
  )
}

/** What stands for an auth record within an audience: equal for two that cannot be told apart. */
export function audienceKey(audience: Audience, auth: EngineRecord | null): string {
  if (audience === 'all') return ''
  if (auth === null) return '-'
  switch (audience) {
    case 'signed_in':
      return '+'
    case 'collection':
      return auth.collection.id
    case 'each':
      return `${auth.collection.id}/${auth.id}`
  }
}

function ofGroup(group: Group): Audience {
  return finestOf(group.items.map(({ node }) => (isGroup(node) ? ofGroup(node) : ofExpression(node))))
}

function ofExpression({ left, operator, right }: Expression): Audience {
  const asksWhetherSignedIn =
    (operator === '=' || operator === '!=') &&
    ((isAuthId(left) && isEmptyText(right)) || (isAuthId(right) && isEmptyText(left)))
  return asksWhetherSignedIn ? 'signed_in' : finestOf([ofOperand(left), ofOperand(right)])
}

function ofOperand(operand: Operand): Audience {
  if (operand.kind === 'function') return finestOf(operand.args.map(ofOperand))
  if (operand.kind !== 'identifier' || !operand.text.startsWith('@request.auth')) return 'all'
  return operand.text === '@request.auth.collectionId' || operand.text === '@request.auth.collectionName'
    ? 'collection'
    : 'each'
}

const isAuthId = (operand: Operand) => operand.kind === 'identifier' && operand.text === '@request.auth.id'
const isEmptyText = (operand: Operand) => operand.kind === 'text' && operand.text === ''

function finestOf(all: readonly Audience[]): Audience {
  return audiences[Math.max(0, ...all.map((each) => audiences.indexOf(each)))]!
}
