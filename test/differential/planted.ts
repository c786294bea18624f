// Shows that the differential test can fail: each planted bug, one at a time, must be found. `bun run test:long planted`.

import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startServer } from '../support/pocketbase.ts'
import { differ } from './differ.ts'

interface PlantedBug {
  readonly file: string
  readonly from: string
  readonly to: string
}

/** Seeds that are tried before a bug counts as missed, and requests of each. */
const seedsMax = 12
const requests = 400

const bugs: Readonly<Record<string, PlantedBug>> = {
  'joins lose their order': { file: 'filter/compile.ts', from: "join === 'or' ? 'OR' : 'AND'", to: "'AND'" },
  'one match is enough': { file: 'filter/compare.ts', from: 'if (!isAny && (', to: 'if (isAny && (' },
  'empty and null differ': { file: 'filter/compare.ts', from: "['OR', 'IS NULL']", to: "['AND', 'IS NULL']" },
  'like takes wildcards': {
    file: 'filter/compare.ts',
    from: 'return `%${text.replace(',
    to: 'return `${text.replace(',
  },
  'sorts go one way': { file: 'records/list.ts', from: "[key.slice(1), 'DESC']", to: "[key.slice(1), 'ASC']" },
  'hidden fields are filtered by': {
    file: 'filter/resolver.ts',
    from: 'this.#allowHidden = allow\n',
    to: 'this.#allowHidden ||= allow\n',
  },
  'e-mails are probed': {
    file: 'filter/resolver.ts',
    from: 'if (!hidesEmail) return operand',
    to: 'if (field.name !== "") return operand',
  },
  'list rules of joins are forgotten': {
    file: 'filter/resolver.ts',
    from: 'this.#ruled.set(join.alias, collection)',
    to: '',
  },
  'lists ignore their rule': { file: 'records/list.ts', from: "listRule.trim() !== ''", to: "listRule.trim() === '-'" },
  'updates ignore changed fields': {
    file: 'rules/rules.ts',
    from: 'if (isOpen(rule)) return await engine',
    to: 'if (rule !== "") return await engine',
  },
  'expands ignore the view rule': {
    file: 'expand/expand.ts',
    from: "isSuperuser || viewRule === ''",
    to: 'isSuperuser || viewRule !== null',
  },
  'back relations are single': { file: 'expand/expand.ts', from: 'isMultiple: !isUnique', to: 'isMultiple: isUnique' },
  'no expand without relations': {
    file: 'expand/expand.ts',
    from: 'record.expand ??= {}\n    const valid',
    to: 'const valid',
  },
  'joined rows come twice': { file: 'records/list.ts', from: "compiler.hasJoins ? 'DISTINCT ' : ''", to: "''" },
  'excerpts are too long': { file: 'picker/picker.ts', from: '.slice(0, max)', to: '.slice(0, max + 1)' },
  'counts of views are JSON': {
    file: 'collections/view-query.ts',
    from: "computed(makeField('number', alias, { onlyInt: true }))",
    to: "computed(makeField('json', alias))",
  },
  'files are appended in front': {
    file: 'fields/file.ts',
    from: '[...now, ...given])',
    to: '[...given, ...now])',
  },
  'files are shown in place': {
    file: 'files/serve.ts',
    from: "!isDownload && inlineTypes.has(file.contentType) ? 'inline'",
    to: "!isDownload ? 'inline'",
  },
  'upserts always create': {
    file: '../api/batch.ts',
    from: "return exists ? { kind: 'update'",
    to: "return exists && id === '-' ? { kind: 'update'",
  },
  'realtime forgets its filters': {
    file: 'realtime/publish.ts',
    from: "if (filter === '') return true",
    to: "if (filter !== '-') return true",
  },
  'realtime asks the view rule for lists': {
    file: 'realtime/publish.ts',
    from: '/*`, listRule]',
    to: '/*`, viewRule]',
  },
  'people verify themselves': {
    file: '../api/records.ts',
    from: "if (!isManager && record.bool('verified') !==",
    to: "if (isManager && record.bool('verified') !==",
  },
  'lists keep their first value when they shrink': {
    file: 'collections/table-sync.ts',
    from: "'$[#-1]'",
    to: "'$[0]'",
  },
  'settings take any number': {
    file: 'settings/validate.ts',
    from: '[logs.maxDays, atLeast(0)]',
    to: '[logs.maxDays]',
  },
}

/** How many bugs there are. */
export const plantedCount = Object.keys(bugs).length

const engineFolder = join(import.meta.dir, '../../src/node/engine')

/** Bugs whose place in the source has gone, so that they could not be planted. */
export function unplantable(): string[] {
  return Object.entries(bugs)
    .filter(([, { file, from }]) => !readFileSync(join(engineFolder, file), 'utf8').includes(from))
    .map(([name]) => name)
}

/** Plants the first `rounds` bugs; throws when one of them is missed. @returns the seed that found each. */
export async function findPlanted(
  binary: string,
  options: { readonly seed: number; readonly rounds: number; readonly onRound: (line: string) => void },
): Promise<Readonly<Record<string, number>>> {
  const foundBy: Record<string, number> = {}
  const missed: string[] = []
  for (const [name, bug] of Object.entries(bugs).slice(0, options.rounds)) {
    const seed = await findOne(binary, name, bug, options.seed)
    if (seed === null) missed.push(name)
    else foundBy[name] = seed
    options.onRound(seed === null ? `MISSED  ${name}` : `found   ${name} (SEED=${seed})`)
  }
  if (missed.length > 0) throw new Error(`not found: ${missed.join(', ')}`)
  return foundBy
}

/** The first of some seeds whose requests show the bug, which is planted into a copy of the source; null for none. */
async function findOne(binary: string, name: string, bug: PlantedBug, firstSeed: number): Promise<number | null> {
  const root = join(import.meta.dir, '../..')
  const dir = mkdtempSync(join(tmpdir(), 'pf-planted-'))
  try {
    for (const part of ['src', 'package.json', 'tsconfig.json'])
      cpSync(join(root, part), join(dir, part), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'))
    const path = join(dir, 'src/node/engine', bug.file)
    const text = readFileSync(path, 'utf8')
    if (!text.includes(bug.from)) throw new Error(`${name}: ${bug.file} has no ${JSON.stringify(bug.from)} any more`)
    writeFileSync(
      path,
      text.replace(bug.from, () => bug.to),
    )
    const command = (data: string) => (address: string) => [
      process.execPath,
      join(dir, 'src/main.ts'),
      'serve',
      '--mode=standalone',
      `--dir=${data}`,
      `--http=${address}`,
    ]
    for (let seed = firstSeed; seed < firstSeed + seedsMax; seed++) {
      const { differences } = await differ(binary, seed, requests, (data) => startServer(command(data)))
      if (differences.length > 0) return seed
    }
    return null
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
