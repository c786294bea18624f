// Random schemas: base collections and one of people with relations among them, and views over them.

import type { Generator } from './generator.ts'
import { type CollectionPlan, dates, type FieldPlan, options } from './plans.ts'

const types = [
  'text',
  'number',
  'bool',
  'date',
  'select',
  'select',
  'json',
  'relation',
  'relation',
  'geoPoint',
  'email',
  'editor',
  'url',
  'file',
]

/** The collections of a world, in the order in which they can be made: tables before the views that read them. */
export function makeSchema(generator: Generator): CollectionPlan[] {
  const count = 3 + generator.rng.below(2)
  const names = ['people', ...Array.from({ length: count }, (_, i) => `col${i}`)]
  const ids = names.map((name) => `pbc_${name.padEnd(10, '0')}`)
  const tables = names.map((name, at): CollectionPlan => {
    const fields = makeFields(generator, names, ids, at > 0)
    return { id: ids[at]!, name, isAuth: at === 0, isView: false, idName: name, fields, json: {} }
  })
  generator.collections = tables
  const views = [0, 1].map((index) => makeView(generator, index, tables))
  generator.collections = [...tables, ...views]
  return generator.collections.map((plan) => ({ ...plan, json: collectionJson(generator, plan) }))
}

/** @param canRefuse whether options may be such that values are refused; people must get in. */
function makeFields(
  generator: Generator,
  names: readonly string[],
  ids: readonly string[],
  canRefuse: boolean,
): FieldPlan[] {
  const fields: FieldPlan[] = []
  for (let i = 0; i < 5 + generator.rng.below(4); i++) {
    const type = generator.pick(types)
    const at = generator.rng.below(names.length)
    const field = makeField(generator, `${type.toLowerCase()}${i}`, type, { name: names[at]!, id: ids[at]! })
    fields.push(canRefuse ? field : { ...field, json: { ...field.json, required: false, minSelect: 0 } })
  }
  fields.push(plainText('title'))
  return fields
}

export function plainText(name: string): FieldPlan {
  const json = { id: `f_${name}`, name, type: 'text' }
  return { name, type: 'text', hidden: false, isMultiple: false, target: null, json }
}

/** @param target of a relation. */
export function makeField(
  generator: Generator,
  name: string,
  type: string,
  target: { readonly name: string; readonly id: string },
): FieldPlan {
  const hidden = generator.chance(12)
  const isMultiple = ['select', 'relation', 'file'].includes(type) && generator.chance(50)
  const json = { id: `f_${name}`, name, type, hidden, ...optionsOf(generator, type, isMultiple, target.id) }
  return { name, type, hidden, isMultiple, target: type === 'relation' ? target.name : null, json }
}

/** Options of a field, now and then such that some values are refused. */
function optionsOf(
  generator: Generator,
  type: string,
  isMultiple: boolean,
  targetId: string,
): Readonly<Record<string, unknown>> {
  const sometimes = (values: Readonly<Record<string, unknown>>) => (generator.chance(10) ? values : {})
  switch (type) {
    case 'text':
      return { ...sometimes({ min: 2 }), ...sometimes({ max: 5 }), ...sometimes({ pattern: '^[a-z]*$' }) }
    case 'number':
      return { ...sometimes({ min: 0 }), ...sometimes({ max: 100 }), ...sometimes({ onlyInt: true }) }
    case 'date':
      return { ...sometimes({ min: dates[0]! }), ...sometimes({ max: dates[1]! }) }
    case 'email':
    case 'url':
      return sometimes(generator.chance(50) ? { exceptDomains: ['b.co'] } : { onlyDomains: ['example.com', 'b.co'] })
    case 'editor':
      return sometimes({ maxSize: 6 })
    case 'json':
      return sometimes({ maxSize: 12 })
    case 'select':
      return { values: options, maxSelect: isMultiple ? 3 : 1, ...sometimes({ required: true }) }
    case 'relation':
      return {
        collectionId: targetId,
        maxSelect: isMultiple ? 5 : 1,
        cascadeDelete: generator.chance(15),
        ...sometimes({ minSelect: 1 }),
      }
    case 'file':
      return {
        maxSelect: isMultiple ? 3 : 1,
        thumbs: ['8x8', '4x0'],
        ...sometimes({ maxSize: 20 }),
        ...sometimes({ mimeTypes: ['image/png'] }),
        ...(generator.chance(25) && { protected: true }),
      }
    default:
      return {}
  }
}

/** A view over one or two tables, with fields of theirs under their own or another name, and computed ones. */
export function makeView(generator: Generator, index: number, tables: readonly CollectionPlan[]): CollectionPlan {
  const table = generator.pick(tables)
  const name = `view${index}`
  const fields: FieldPlan[] = []
  const columns = ['a.id']
  for (const field of table.fields.filter(() => generator.chance(60))) {
    const alias = generator.chance(20) ? `${field.name}X` : field.name
    columns.push(alias === field.name ? `a.${field.name}` : `a.${field.name} AS ${alias}`)
    fields.push({ ...field, name: alias })
  }
  const computed = generator.pick([
    '(1 + 1) AS extra',
    "('x' || a.id) AS extra",
    'count(a.id) AS extra',
    'cast(a.id as text) AS extra',
    'cast(1.5 as int) AS extra',
    'cast(1 as real) AS extra',
    'coalesce(a.title, null) AS extra',
    'max(a.title) AS extra',
    'cast(1 as bool) AS extra',
    '(a.title) extra',
  ])
  const isGrouped = /count|max/.test(computed)
  columns.push(computed)
  fields.push({ ...plainText('extra'), type: 'json' })
  const relation = table.fields.find((field) => field.target !== null && !field.isMultiple)
  const joined = relation !== undefined && generator.chance(50) ? relation : null
  if (joined !== null) columns.push('b.title AS other')
  const join = joined === null ? '' : ` LEFT JOIN ${joined.target} b ON b.id = a.${joined.name}`
  const where = generator.chance(30) ? " WHERE a.title != 'alpha'" : ''
  const group = isGrouped ? ' GROUP BY a.id' : ''
  const viewQuery = `SELECT ${columns.join(', ')} FROM ${table.name} a${join}${where}${group}`
  if (joined !== null) fields.push({ ...plainText('other') })
  return {
    id: `pbc_${name.padEnd(10, '0')}`,
    name,
    isAuth: false,
    isView: true,
    idName: table.name,
    fields,
    json: { viewQuery },
  }
}

function collectionJson(generator: Generator, plan: CollectionPlan): Record<string, unknown> {
  const rule = () => {
    const kind = generator.rng.below(10)
    if (kind < 1) return null
    if (kind < 5) return ''
    return generator.rule(plan)
  }
  const { id, name } = plan
  const reading = { listRule: rule(), viewRule: rule() }
  if (plan.isView) return { ...plan.json, id, name, type: 'view', ...reading }
  const relation = plan.fields.find((field) => field.target !== null && !field.isMultiple)
  const indexes =
    relation !== undefined && generator.chance(30) ? [`CREATE INDEX idx_${name}_r ON ${name} (${relation.name})`] : []
  const json = {
    id,
    name,
    type: plan.isAuth ? 'auth' : 'base',
    fields: plan.fields.map((field) => field.json),
    indexes,
    ...reading,
    createRule: rule(),
    updateRule: rule(),
    deleteRule: rule(),
  }
  if (!plan.isAuth) return json
  // A hash at the least cost takes a millisecond: signing in is a request like any other here.
  const cheap = { id: 'password901924565', name: 'password', type: 'password', cost: 4, min: 8 }
  return {
    ...json,
    fields: [...json.fields, { ...cheap, system: true, hidden: true, required: true }],
    manageRule: generator.chance(40) ? generator.rule(plan) : null,
    authRule: generator.chance(80) ? '' : 'verified = true',
  }
}
