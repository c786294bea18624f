// The filter grammar: comparisons joined by && and ||, groups in parentheses, `//` comments. PocketBase's grammar
// (ganigeorgiev/fexpr), its oddities included: a group drops whatever stands unfinished before it, and a NUL ends the
// text.

import { LruMap } from '../../../lib/lru.ts'
import { err, ok, type Result } from '../../../lib/result.ts'

/** Characters of one filter; rules may be longer than what a client sends. */
export const filterLengthMax = 20_000
/** Groups within groups. */
const depthMax = 500
/** Functions within arguments of functions. */
const functionDepthMax = 3

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

/** Rules and filters repeat from request to request; entries are a few KB at most. */
const parsed = new LruMap<string, Result<Group, string>>(500)

/** Parses a filter; the error says what is wrong. Never throws, and takes time linear in the text. */
export function parseFilter(text: string): Result<Group, string> {
  if (text.length > filterLengthMax) return err(`the filter is longer than ${filterLengthMax} characters`)
  const known = parsed.get(text)
  if (known !== undefined) return known
  try {
    const result = ok(readGroup(new Reader(text), 0))
    parsed.set(text, result)
    return result
  } catch (error) {
    if (error instanceof SyntaxFailure) return err(error.message)
    throw error
  }
}

function fail(what: string): never {
  throw new SyntaxFailure(what)
}

const isLetter = (char: string) => (char >= 'a' && char <= 'z') || (char >= 'A' && char <= 'Z')
const isDigit = (char: string) => char >= '0' && char <= '9'
const isBlank = (char: string) => char === ' ' || char === '\t' || char === '\n'
const isSign = (char: string) => '=?!<>~'.includes(char)
const isJoin = (char: string) => char === '&' || char === '|'
const isSpecialStart = (char: string) => char === '@' || char === '_' || char === '#'
const isCombining = (char: string) => char === '.' || char === ':'
const isWordPart = (char: string) => isLetter(char) || isDigit(char) || isCombining(char) || char === '_'

const operatorPattern = /^(\?)?(=|!=|~|!~|<|<=|>|>=)$/

class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  /** The next character; empty at the end. */
  peek(): string {
    const char = this.#text[this.#at]
    return char === undefined || char === '\0' ? '' : char
  }

  skip(): void {
    this.#at++
  }

  skipBlank(): void {
    for (;;) {
      const char = this.peek()
      if (char !== '' && isBlank(char)) this.#at++
      else if (char === '/') this.#comment()
      else return
    }
  }

  while(belongs: (char: string) => boolean): string {
    const from = this.#at
    for (let char = this.peek(); char !== '' && belongs(char); char = this.peek()) this.#at++
    return this.#text.slice(from, this.#at)
  }

  #comment(): void {
    if (this.#text[this.#at + 1] !== '/') fail('invalid comment')
    for (this.#at += 2; this.peek() !== '' && this.peek() !== '\n'; ) this.#at++
    if (this.#at < this.#text.length) this.#at++
  }

  /** An operand, or null when none starts here. */
  operand(functionDepth: number): Operand | null {
    const char = this.peek()
    if (char === '') return null
    if (isLetter(char) || isSpecialStart(char)) return this.#identifier(functionDepth)
    if (char === '-' || isDigit(char)) return { kind: 'number', value: this.#number() }
    if (char === "'" || char === '"') return { kind: 'text', text: this.#quoted() }
    return null
  }

  #identifier(functionDepth: number): Operand {
    const from = this.#at++
    this.while(isWordPart)
    const text = this.#text.slice(from, this.#at)
    const isFunction = this.peek() === '('
    if (isFunction && functionDepth <= 0) fail('functions are nested too deeply')
    if (isCombining(text.at(-1)!) || (text.length === 1 && isSpecialStart(text))) fail(`invalid identifier ${text}`)
    if (!isFunction) return { kind: 'identifier', text }
    return { kind: 'function', name: text, args: this.#args(functionDepth) }
  }

  #number(): number {
    const from = this.#at
    let hadDot = false
    for (;;) {
      const char = this.peek()
      if (char === '' || !(isDigit(char) || (char === '-' && this.#at === from) || (char === '.' && !hadDot))) break
      if (char === '.') hadDot = true
      this.#at++
    }
    const text = this.#text.slice(from, this.#at)
    if (text === '-' || text.endsWith('.')) fail(`invalid number ${text}`)
    return Number(text)
  }

  #quoted(): string {
    const quote = this.#text[this.#at++]
    let text = ''
    for (;;) {
      const char = this.peek()
      if (char === '') fail('a quoted text does not end')
      this.#at++
      if (char === quote) return text
      if (char !== '\\') {
        text += char
        continue
      }
      const escaped = this.peek()
      if (escaped === '') fail('a quoted text does not end')
      this.#at++
      if (escaped === 'n') text += '\n'
      else if (escaped === 't') text += '\t'
      else if (escaped === 'r') text += '\r'
      else text += '\\\'"'.includes(escaped) ? escaped : `\\${escaped}`
    }
  }

  #args(functionDepth: number): Operand[] {
    this.#at++
    const args: Operand[] = []
    for (let expectsComma = false; ; ) {
      this.skipBlank()
      const char = this.peek()
      if (char === '') fail('a function does not end')
      if (char === ')' || char === ',') {
        this.#at++
        if (char === ')') return args
        if (!expectsComma) fail('unexpected comma')
        expectsComma = false
        continue
      }
      if (expectsComma) fail('expected a comma')
      args.push(this.operand(functionDepth - 1) ?? fail(`unexpected argument ${JSON.stringify(char)}`))
      expectsComma = true
    }
  }
}

/** Reads to the end of the text, or of the parenthesis that was opened before. */
function readGroup(reader: Reader, depth: number): Group {
  if (depth > depthMax) fail(`groups deeper than ${depthMax} levels`)
  const items: Item[] = []
  let step: 'left' | 'sign' | 'right' | 'join' = 'left'
  let join: Item['join'] = 'and'
  let left: Operand | null = null
  let operator: { comparison: Comparison; isAny: boolean } | null = null
  for (;;) {
    reader.skipBlank()
    const char = reader.peek()
    if (char === '') {
      if (depth > 0) fail('a parenthesis does not end')
      break
    }
    if (char === ')' && depth > 0) {
      reader.skip()
      break
    }
    if (char === '(') {
      reader.skip()
      items.push({ join, node: readGroup(reader, depth + 1) })
      step = 'join'
    } else if (step === 'join') {
      const text = reader.while(isJoin)
      if (text !== '&&' && text !== '||') fail('expected && or ||')
      join = text === '&&' ? 'and' : 'or'
      step = 'left'
    } else if (step === 'sign') {
      const match = operatorPattern.exec(reader.while(isSign)) ?? fail('expected an operator')
      operator = { comparison: match[2] as Comparison, isAny: match[1] !== undefined }
      step = 'right'
    } else {
      const operand = reader.operand(functionDepthMax) ?? fail(`unexpected character ${JSON.stringify(char)}`)
      if (step === 'right') {
        items.push({
          join,
          node: { left: left!, operator: operator!.comparison, isAny: operator!.isAny, right: operand },
        })
        step = 'join'
      } else {
        left = operand
        step = 'sign'
      }
    }
  }
  if (step !== 'join') fail(items.length === 0 ? 'empty filter' : 'incomplete filter')
  return { items }
}
