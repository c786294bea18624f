// Changes of the schema: fields renamed, dropped, added and changed, indexes, rules, views; and what is refused.

import type { Generator } from '../generator.ts'
import type { CollectionPlan, FieldPlan, RequestPlan } from '../plans.ts'
import { makeField, makeView, plainText } from '../schema.ts'

const managed = '/api/collections'

export function changeCollection(generator: Generator, index: number): RequestPlan {
  const caller = generator.chance(90) ? 1 : generator.caller()
  // Everybody has signed in to the first one, and subscriptions stand on it.
  const plan = generator.pick(generator.collections.slice(1))
  const patch = (body: Record<string, unknown>, next?: CollectionPlan): RequestPlan => ({
    method: 'PATCH',
    path: `${managed}/${generator.chance(50) ? plan.id : plan.name}`,
    body,
    caller,
    ...(next !== undefined && { onDone: () => replace(generator, next) }),
  })
  const kind = generator.rng.below(12)
  if (kind === 0) return { method: 'GET', path: `${managed}/${plan.name}`, body: null, caller }
  if (kind === 1)
    return {
      method: 'GET',
      path: `${managed}?sort=name&filter=${encodeURIComponent("name ~ 'col'")}`,
      body: null,
      caller,
    }
  if (kind === 2) return patch(generator.pick<Record<string, unknown>>(oddChanges(plan)))
  if (kind === 3)
    return patch({ listRule: generator.rule(plan), viewRule: generator.pick(['', null, generator.rule(plan)]) })
  if (kind === 4) return addCollection(generator, index, caller)
  if (kind === 5 && generator.chance(30))
    return {
      method: 'DELETE',
      path: `${managed}/${plan.name}`,
      body: null,
      caller,
      onDone: () => drop(generator, plan),
    }
  if (kind === 6 && generator.chance(20))
    return { method: 'DELETE', path: `${managed}/${plan.name}/truncate`, body: null, caller }
  if (kind === 7) return dryRun(generator, caller)
  if (plan.isView) {
    const view = makeView(
      generator,
      Number(plan.name.slice(4)),
      generator.collections.filter((each) => !each.isView),
    )
    return patch(view.json as Record<string, unknown>, { ...view, json: { ...plan.json, ...view.json } })
  }
  const changed = changedFields(generator, plan, index)
  return patch(
    {
      fields: changed.map((field) => field.json),
      ...(generator.chance(30) && { indexes: someIndexes(generator, plan) }),
    },
    { ...plan, fields: changed },
  )
}

function changedFields(generator: Generator, plan: CollectionPlan, index: number): readonly FieldPlan[] {
  const fields = [...plan.fields]
  const at = generator.rng.below(fields.length)
  const field = fields[at]!
  switch (generator.rng.below(7)) {
    case 0: {
      if (field.name === 'title') return fields
      const name = `${field.type.toLowerCase()}r${index}`
      fields[at] = { ...field, name, json: { ...field.json, name } }
      return fields
    }
    case 1:
      return field.name === 'title' ? fields : fields.filter((each) => each !== field)
    case 2:
    case 6: {
      const choices = fields.filter((each) => ['select', 'relation', 'file'].includes(each.type))
      if (choices.length === 0) return fields
      const choice = generator.pick(choices)
      const isMultiple = !choice.isMultiple
      const json = { ...choice.json, maxSelect: isMultiple ? 3 : 1, minSelect: 0 }
      return fields.map((each) => (each === choice ? { ...choice, isMultiple, json } : each))
    }
    case 3:
      fields[at] = {
        ...field,
        json: {
          ...field.json,
          required: generator.chance(50),
          hidden: field.hidden,
          help: 'h',
          presentable: generator.chance(50),
        },
      }
      return fields
    case 4:
      return fields.toReversed()
    default: {
      const type = generator.pick([
        'text',
        'number',
        'bool',
        'select',
        'json',
        'geoPoint',
        'email',
        'relation',
        'file',
        'date',
      ])
      const target = generator.pick(generator.collections.filter((each) => !each.isView))
      return [...fields, makeField(generator, `${type.toLowerCase()}n${index}`, type, target)]
    }
  }
}

function someIndexes(generator: Generator, plan: CollectionPlan): string[] {
  const field = generator.pick(plan.fields)
  return generator.pick([
    [],
    [`CREATE INDEX idx_${plan.name}_x ON ${plan.name} (${field.name})`],
    [
      `create unique index if not exists \`idx_${plan.name}_u\` on \`${plan.name}\` (\`id\`, \`${field.name}\` collate nocase desc)`,
    ],
    [`CREATE INDEX idx_${plan.name}_w ON ${plan.name} (${field.name}) WHERE ${field.name} != ''`],
    [`CREATE INDEX idx_${plan.name}_n ON ${plan.name} (nope)`],
    [`CREATE INDEX idx_${plan.name}_o ON other (id)`],
    ['nonsense'],
  ])
}

/** What must be refused, or changes nothing. */
function oddChanges(plan: CollectionPlan): Record<string, unknown>[] {
  const json = plan.fields.map((field) => field.json)
  return [
    { type: plan.isView ? 'base' : 'view' },
    { id: 'other' },
    { name: 'people' },
    { name: '_bad' },
    { name: 'with space' },
    { system: true },
    { listRule: 'nope = 1' },
    { createRule: '@request.auth.id = ' },
    { fields: [] },
    { fields: 'x' },
    { fields: [...json, { name: 'title', type: 'text' }] },
    { fields: [...json, { name: 'id', type: 'number' }] },
    { fields: [...json, { name: 'bad name', type: 'text' }] },
    { fields: [...json, { name: 'ok', type: 'nope' }] },
    { fields: [...json, { name: 'ok', type: 'select', values: [] }] },
    { fields: [...json, { name: 'ok', type: 'select', values: ['a', 'a'], maxSelect: 5 }] },
    { fields: [...json, { name: 'ok', type: 'relation', collectionId: 'nope' }] },
    { fields: [...json, { name: 'ok', type: 'text', min: 5, max: 2 }] },
    { fields: [...json, { name: 'ok', type: 'text', pattern: '(' }] },
    { fields: [...json, { name: 'ok', type: 'number', min: 3, max: 1 }] },
    { fields: [...json, { name: 'ok', type: 'file', maxSelect: -1, maxSize: -1 }] },
    { fields: [...json, { name: 'ok', type: 'file', thumbs: ['x'] }] },
    { fields: [...json, { name: 'ok', type: 'autodate' }] },
    { fields: [...json, { name: 'ok', type: 'password' }] },
    {
      fields: [...json, { name: 'ok', type: 'date', min: '2024-01-01 00:00:00.000Z', max: '2020-01-01 00:00:00.000Z' }],
    },
    { fields: [...json, { name: 'ok', type: 'email', onlyDomains: ['a.b'], exceptDomains: ['c.d'] }] },
    { fields: json.map((field, at) => (at === 0 ? { ...field, type: 'bool' } : field)) },
    { viewQuery: 'SELECT 1' },
    { viewQuery: 'SELECT id FROM nope' },
    { viewQuery: 'SELECT id, nope FROM people' },
    { viewQuery: 'SELECT id, * FROM people' },
    { viewQuery: 'SELECT title FROM people' },
    { viewQuery: 'SELECT id FROM people; SELECT 1' },
    { viewQuery: '' },
    { viewQuery: 'DELETE FROM people' },
    { indexes: 'x' },
    { indexes: ['CREATE INDEX `i` ON `x` ()'] },
    { name: null },
    {},
  ]
}

function addCollection(generator: Generator, index: number, caller: number): RequestPlan {
  const isView = generator.chance(25)
  const name = isView ? `view${index + 10}` : `col${index + 10}`
  const tables = generator.collections.filter((each) => !each.isView)
  const fields = [
    plainText('title'),
    makeField(
      generator,
      `other${index}`,
      generator.pick(['text', 'relation', 'file', 'select', 'json']),
      generator.pick(tables),
    ),
  ]
  const id = `pbc_${name.padEnd(10, '0')}`
  const plan: CollectionPlan = isView
    ? makeView(generator, index + 10, tables)
    : {
        id,
        name,
        isAuth: false,
        isView: false,
        idName: name,
        fields,
        json: { fields: fields.map((field) => field.json) },
      }
  const rules = {
    listRule: generator.pick(['', null]),
    viewRule: '',
    ...(!isView && { createRule: '', updateRule: '', deleteRule: '' }),
  }
  const body = {
    ...plan.json,
    id: plan.id,
    name,
    type: isView ? 'view' : 'base',
    ...rules,
    ...(generator.chance(10) && { name: 'col0' }),
  }
  return {
    method: 'POST',
    path: managed,
    body,
    caller,
    onDone: () => void (generator.collections = [...generator.collections, plan]),
  }
}

function dryRun(generator: Generator, caller: number): RequestPlan {
  const tables = generator.collections.filter((each) => !each.isView)
  const { viewQuery } = makeView(generator, 99, tables).json
  const query = generator.pick([
    viewQuery,
    viewQuery,
    'SELECT 1 AS id',
    'SELECT id FROM nope',
    'SELECT id, * FROM people',
    '',
    'SELECT id FROM people; DELETE FROM people',
  ])
  return { method: 'POST', path: `${managed}/meta/dry-run-view`, body: { query }, caller }
}

function replace(generator: Generator, next: CollectionPlan): void {
  generator.collections = generator.collections.map((each) => (each.id === next.id ? next : each))
}

function drop(generator: Generator, plan: CollectionPlan): void {
  generator.collections = generator.collections.filter((each) => each.id !== plan.id)
}
