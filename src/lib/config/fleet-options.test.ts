// Goal: the README tells of each option of `serve` exactly what `--help` does, and of no other.

import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fleetOptions } from './fleet-options.ts'
import type { OptionSpec } from './resolve.ts'

function rowOf({ flag, env, placeholder, about, secret }: OptionSpec<unknown>): string {
  const files = secret ? ` (also \`--${flag}-file\`, \`${env}_FILE\`)` : ''
  return `| \`--${flag}${placeholder === null ? '' : ` ${placeholder}`}\` | \`${env}\` | ${about}${files} |`
}

test('the table in the README is that of the options', () => {
  const readme = readFileSync(join(import.meta.dir, '../../../README.md'), 'utf8')
  const rows = readme.split('\n').filter((line) => line.startsWith('| `--'))
  expect(rows.toSorted()).toEqual(Object.values(fleetOptions).map(rowOf).toSorted())
})
