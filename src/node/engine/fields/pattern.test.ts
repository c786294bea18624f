// Goal: patterns mean what they mean to Go, are refused in Go's words, and no pattern and no text stop the process.

import { expect, test } from 'bun:test'
import { leastCpuMs } from '../../../../test/support/cpu.ts'
import { seededRng } from '../../../lib/rng.ts'
import { compilePattern, hasForm } from './pattern.ts'
import { RandomPatternError, randomByPattern } from './random-pattern.ts'

/** What backtracks takes years; what does not, this at most on any machine, ms. */
const cpuMsMax = 250

test('a pattern is in Go’s syntax and matches anywhere unless it is anchored', () => {
  const cases: [pattern: string, text: string, matches: boolean][] = [
    ['', 'anything', true],
    ['b', 'abc', true],
    ['^b', 'abc', false],
    ['^[a-z0-9]+$', 'abc1', true],
    ['^[a-z0-9]+$', 'abc1\n', false],
    ['(?i)^ABC$', 'abc', true],
    ['^(?P<year>\\d{4})-(?<month>\\d\\d)$', '2026-11', true],
    ['a(?s:.)b', 'a\nb', true],
    ['\\Aab\\z', 'ab', true],
    ['^\\p{Greek}+$', 'αβγ', true],
    ['^[[:alpha:]]+$', 'abc', true],
    ['^.$', '😀', true],
    ['\\Qa+b\\E', 'a+b', true],
    ['a{,2}', 'a{,2}', true],
  ]
  for (const [pattern, text, matches] of cases)
    expect([pattern, text, hasForm(pattern, text)]).toEqual([pattern, text, matches])
})

test('what is no pattern is refused in the words of Go', () => {
  const problems = {
    '(': 'error parsing regexp: missing closing ): `(`',
    '[z-a]': 'error parsing regexp: invalid character class range: `z-a`',
    'a{1001}': 'error parsing regexp: invalid repeat count: `{1001}`',
    '(?=a)': 'error parsing regexp: invalid or unsupported Perl syntax: `(?=`',
    '(a)\\1': 'error parsing regexp: invalid escape sequence: `\\1`',
    'a**': 'error parsing regexp: invalid nested repetition operator: `**`',
    '(?P<n>a)(?P<n>b)': 'error parsing regexp: duplicate capture group name: `n`',
    '((a{100}){100}){100}': 'error parsing regexp: invalid repeat count: `{100}`',
  }
  for (const [pattern, problem] of Object.entries(problems)) {
    expect(compilePattern(pattern)).toBe(problem)
    expect(hasForm(pattern, 'a')).toBe(false)
  }
  expect(compilePattern('a'.repeat(5_001))).toMatch(/longer than/)
})

test('patterns that backtrack elsewhere take no time here', () => {
  const bombs: [pattern: string, text: string][] = [
    ['^(a+)+$', `${'a'.repeat(5_000)}!`],
    ['(x+x+)+y', 'x'.repeat(5_000)],
    ['^(([a-z])+.)+[A-Z]([a-z])+$', 'a'.repeat(5_000)],
    ['(.*)*(.*)*(.*)*x', 'y'.repeat(5_000)],
    ['^(\\w+\\s?)*$', `${'word '.repeat(1_000)}!`],
  ]
  for (const [pattern, text] of bombs) {
    expect(hasForm(pattern, text)).toBe(false)
    expect(leastCpuMs(() => hasForm(pattern, text))).toBeLessThan(cpuMsMax)
  }
})

test('the work of a large pattern on a long text is bounded', () => {
  const large = '^([a-z]+){1,1000}$'
  expect(hasForm(large, 'abc')).toBe(true)
  expect(hasForm(large, 'abc'.repeat(100_000))).toBe(false)
  expect(leastCpuMs(() => hasForm(large, 'abc'.repeat(100_000)))).toBeLessThan(cpuMsMax)
})

test('no autogenerate pattern runs for long', () => {
  const rng = seededRng(7)
  const endless = [
    '(((((((((((((((()*)*)*)*)*)*)*)*)*)*)*)*)*)*)*)*',
    '((((a{0}){1000}){1000}){1000}){1000}',
    '(((a*)*)*)*',
  ]
  for (const pattern of endless)
    expect(
      leastCpuMs(() => {
        try {
          randomByPattern(pattern, rng)
        } catch (error) {
          if (!(error instanceof RandomPatternError)) throw error
        }
      }),
    ).toBeLessThan(cpuMsMax)
  expect(randomByPattern('[a-z]{3}\\d', rng)).toMatch(/^[a-z]{3}\d$/)
})

test('a class with its number gives every one of its characters, and no other', () => {
  const rng = seededRng(8)
  for (let round = 0; round < 2; round++) {
    const text = randomByPattern('[a-c_-]{2000}', rng)
    expect(text).toHaveLength(2_000)
    expect([...new Set(text)].sort().join('')).toBe('-_abc')
    expect(randomByPattern('[a-z0-9]{15}', rng)).toMatch(/^[a-z0-9]{15}$/)
    expect(randomByPattern('[x]{0}', rng)).toBe('')
    for (const wrong of ['[z-a]{3}', '[^a]{3}', '[a]{6000}'])
      expect(() => randomByPattern(wrong, rng)).toThrow(RandomPatternError)
  }
})
