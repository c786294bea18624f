// The filter grammar: comparisons joined by && and ||, groups in parentheses, `//` comments. Joins have no precedence
// between them: they apply from left to right, as PocketBase's parser has it. Source: ganigeorgiev/fexpr.

import { err, ok, type Result } from '../../../lib/result.ts'

/** Characters of one filter. */
export const filterLengthMax = 20_000
const depthMax = 50

export type Operand =
  | { readonly kind: 'identifier'; readonly text: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'function'; readonly name: string; readonly args: readonly Operand[] }

export type Comparison = '=' | '!=' | '~' | '!~' | '<' | '<=' | '>' | '>='

export interface Expression {
  readonly left: Operand
  readonly operator: Comparison
  /** `?=` and friends: one match among several values is enough. */
  readonly isAny: boolean
  readonly right: Operand
}

export interface Item {
  /** How it is joined to what stands before it; of no meaning for the first. */
  readonly join: 'and' | 'or'
  readonly node: Expression | Group
}

export interface Group {
  readonly items: readonly Item[]
}

export function isGroup(node: Expression | Group): node is Group {
  return 'items' in node
}

class SyntaxFailure extends Error {}

/** Parses a filter; the error says where it went wrong. Never throws, and takes time linear in the text. */
export function parseFilter(text: string): Result<Group, string> {
  if (text.length > filterLengthMax) return err(`the filter is longer than ${filterLengthMax} characters`)
  const reader = new Reader(text)
  try {
    const group = readGroup(reader, 0)
    reader.skipBlank()
    if (!reader.isAtEnd) return err(`unexpected ${JSON.stringify(reader.peek())} at ${reader.at}`)
    return ok(group)
  } catch (error) {
    if (error instanceof SyntaxFailure) return err(error.message)
    throw error
  }
}

class Reader {
  readonly text: string
  at = 0

  constructor(text: string) {
    this.text = text
  }

  get isAtEnd(): boolean {
    return this.at >= this.text.length
  }

  peek(length = 1): string {
    return this.text.slice(this.at, this.at + length)
  }

  /** White space and comments to the end of their line. */
  skipBlank(): void {
    for (;;) {
      while (!this.isAtEnd && /\s/.test(this.text[this.at]!)) this.at++
      if (this.peek(2) !== '//') return
      const end = this.text.indexOf('\n', this.at)
      this.at = end < 0 ? this.text.length : end + 1
    }
  }

  /** What the sticky pattern matches here, consumed; null when it does not. */
  match(pattern: RegExp): string | null {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)
    if (found === null) return null
    this.at += found[0].length
    return found[0]
  }
}

function fail(reader: Reader, expected: string): never {
  throw new SyntaxFailure(`expected ${expected} at ${reader.at}`)
}

function readGroup(reader: Reader, depth: number): Group {
  if (depth > depthMax) throw new SyntaxFailure(`groups deeper than ${depthMax} levels`)
  const items: Item[] = []
  let join: Item['join'] = 'and'
  for (;;) {
    reader.skipBlank()
    if (reader.peek() === '(') {
      reader.at++
      const group = readGroup(reader, depth + 1)
      reader.skipBlank()
      if (reader.peek() !== ')') fail(reader, ')')
      reader.at++
      items.push({ join, node: group })
    } else items.push({ join, node: readExpression(reader, depth) })
    reader.skipBlank()
    const operator = reader.peek(2)
    if (operator !== '&&' && operator !== '||') return { items }
    reader.at += 2
    join = operator === '&&' ? 'and' : 'or'
  }
}

const operatorPattern = /\?(?:!=|!~|<=|>=|=|~|<|>)|!=|!~|<=|>=|=|~|<|>/y

function readExpression(reader: Reader, depth: number): Expression {
  const left = readOperand(reader, depth)
  reader.skipBlank()
  const sign = reader.match(operatorPattern)
  if (sign === null) fail(reader, 'an operator')
  const isAny = sign.startsWith('?')
  reader.skipBlank()
  const right = readOperand(reader, depth)
  return { left, operator: (isAny ? sign.slice(1) : sign) as Comparison, isAny, right }
}

const identifierPattern = /[@#_a-zA-Z][\w.:]*/y
const numberPattern = /-?\d+(?:\.\d+)?(?![\w.])/y

function readOperand(reader: Reader, depth: number): Operand {
  const quote = reader.peek()
  if (quote === '"' || quote === "'") return { kind: 'text', text: readText(reader, quote) }
  const number = reader.match(numberPattern)
  if (number !== null) return { kind: 'number', value: Number(number) }
  const identifier = reader.match(identifierPattern)
  if (identifier === null) fail(reader, 'a field, a text or a number')
  if (/[.:]$/.test(identifier) || identifier.includes('..')) fail(reader, 'a complete field name')
  if (reader.peek() !== '(') return { kind: 'identifier', text: identifier }
  reader.at++
  return { kind: 'function', name: identifier, args: readArguments(reader, depth + 1) }
}

function readArguments(reader: Reader, depth: number): Operand[] {
  if (depth > 3) throw new SyntaxFailure('functions are nested too deeply')
  const args: Operand[] = []
  reader.skipBlank()
  while (reader.peek() !== ')') {
    args.push(readOperand(reader, depth))
    reader.skipBlank()
    if (reader.peek() === ',') {
      reader.at++
      reader.skipBlank()
      if (reader.peek() === ')') fail(reader, 'an argument')
    } else if (reader.peek() !== ')') fail(reader, ', or )')
  }
  reader.at++
  return args
}

/** A quoted text; only its own quote is escaped by a backslash, which stays before anything else. */
function readText(reader: Reader, quote: string): string {
  let text = ''
  for (reader.at++; !reader.isAtEnd; reader.at++) {
    const char = reader.text[reader.at]!
    if (char === quote) {
      reader.at++
      return text
    }
    if (char === '\\' && reader.text[reader.at + 1] === quote) {
      text += quote
      reader.at++
    } else text += char
  }
  return fail(reader, `a closing ${quote}`)
}
