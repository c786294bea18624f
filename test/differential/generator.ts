// Random schemas, records and requests for the differential test. Everything comes from one seeded source, so that a
// seed reproduces a run.

import { type Rng, seededRng } from '../../src/lib/rng.ts'

export interface FieldPlan {
  readonly name: string
  readonly type: string
  readonly hidden: boolean
  readonly isMultiple: boolean
  /** Of relations: the name of the other collection. */
  readonly target: string | null
  readonly json: Readonly<Record<string, unknown>>
}

export interface CollectionPlan {
  readonly id: string
  readonly name: string
  readonly isAuth: boolean
  readonly fields: readonly FieldPlan[]
  readonly json: Readonly<Record<string, unknown>>
}

export interface RequestPlan {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly body: Readonly<Record<string, unknown>> | null
  /** Index into the callers: 0 guest, 1 superuser, then users. */
  readonly caller: number
}

export const usersCount = 3
export const recordsPerCollection = 14
export const password = '1234567890'

const words = [
  'alpha',
  'Beta',
  'gamma ray',
  '',
  '0',
  '1',
  'true',
  'null',
  'a_b',
  '50%',
  "it's",
  'a"b',
  'ü',
  'test@example.com',
  'user1@example.com',
  'user%@example.com',
]
const numbers = [0, 1, -1, 2.5, 1e6, 10, 3]
const dates = ['2022-01-01 10:00:00.000Z', '2024-06-30 23:59:59.999Z', '', '2026-11-24 00:00:00.000Z']
const options = ['red', 'green', 'blue']
const operators = ['=', '!=', '~', '!~', '<', '<=', '>', '>=', '?=', '?!=', '?~', '?!~', '?<', '?>', '?>=', '?<=']

/** What no client should send. */
const oddValues: readonly unknown[] = [
  null,
  [],
  {},
  'x',
  '',
  true,
  1e21,
  -0.5,
  [null],
  ['red', 'red', ''],
  { a: [] },
  'NaN',
  '["red"]',
  '{"lon":1}',
]

export class Generator {
  readonly rng: Rng
  collections: readonly CollectionPlan[] = []

  constructor(seed: number) {
    this.rng = seededRng(seed)
    this.collections = this.#schema()
  }

  pick<T>(list: readonly T[]): T {
    return list[this.rng.below(list.length)]!
  }

  chance(percent: number): boolean {
    return this.rng.below(100) < percent
  }

  idOf(collection: CollectionPlan, index: number): string {
    return `${collection.name.slice(0, 4).padEnd(4, 'x')}${String(index).padStart(11, '0')}`
  }

  #someId(collection: CollectionPlan): string {
    return this.idOf(collection, this.rng.below(recordsPerCollection + 2))
  }

  #schema(): CollectionPlan[] {
    const count = 3 + this.rng.below(2)
    const names = ['people', ...Array.from({ length: count }, (_, i) => `col${i}`)]
    const ids = names.map((name) => `pbc_${name.padEnd(10, '0')}`)
    const plans = names.map((name, at) => {
      const fields = this.#fields(names, ids)
      return { id: ids[at]!, name, isAuth: at === 0, fields, json: {} }
    })
    this.collections = plans
    return plans.map((plan) => ({ ...plan, json: this.#collectionJson(plan, plans) }))
  }

  #fields(names: readonly string[], ids: readonly string[]): FieldPlan[] {
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
    ]
    const fields: FieldPlan[] = []
    for (let i = 0; i < 5 + this.rng.below(4); i++) {
      const type = this.pick(types)
      const name = `${type.toLowerCase()}${i}`
      const hidden = this.chance(12)
      const isMultiple = (type === 'select' || type === 'relation') && this.chance(50)
      const at = this.rng.below(names.length)
      const json: Record<string, unknown> = { id: `f_${name}`, name, type, hidden }
      if (type === 'select') Object.assign(json, { values: options, maxSelect: isMultiple ? 3 : 1 })
      if (type === 'relation')
        Object.assign(json, { collectionId: ids[at], maxSelect: isMultiple ? 5 : 1, cascadeDelete: this.chance(15) })
      fields.push({ name, type, hidden, isMultiple, target: type === 'relation' ? names[at]! : null, json })
    }
    fields.push({
      name: 'title',
      type: 'text',
      hidden: false,
      isMultiple: false,
      target: null,
      json: { id: 'f_title', name: 'title', type: 'text' },
    })
    return fields
  }

  #collectionJson(plan: CollectionPlan, all: readonly CollectionPlan[]): Record<string, unknown> {
    const rule = () => {
      const kind = this.rng.below(10)
      if (kind < 1) return null
      if (kind < 5) return ''
      return this.#rule(plan, all)
    }
    const rules = { listRule: rule(), viewRule: rule(), createRule: rule(), updateRule: rule(), deleteRule: rule() }
    const relation = plan.fields.find((field) => field.target !== null && !field.isMultiple)
    const indexes =
      relation !== undefined && this.chance(30)
        ? [`CREATE INDEX idx_${plan.name}_r ON ${plan.name} (${relation.name})`]
        : []
    return {
      id: plan.id,
      name: plan.name,
      type: plan.isAuth ? 'auth' : 'base',
      fields: plan.fields.map((field) => field.json),
      indexes,
      ...rules,
      ...(plan.isAuth && { manageRule: this.chance(40) ? this.#rule(plan, all) : null }),
    }
  }

  #rule(plan: CollectionPlan, all: readonly CollectionPlan[]): string {
    const own = this.pick(plan.fields)
    const other = this.pick(all)
    return this.pick([
      '@request.auth.id != ""',
      `@request.auth.title ~ "a" || ${this.#comparison(plan, all)}`,
      `@request.body.title:isset = false || @request.body.title != "alpha"`,
      `@request.body.${own.name}:changed = false`,
      `@request.method = "GET" || @request.auth.verified = true`,
      `@collection.${other.name}.id ?= id || @collection.${other.name}:x.title ?~ "a"`,
      `@request.context = "expand" || @request.query.filter != "" || id != ""`,
      this.#comparison(plan, all),
      `(${this.#comparison(plan, all)}) || @request.auth.id = id // comment`,
      '@request.headers.x_test = "1" || @request.auth.collectionName = "people"',
    ])
  }

  /** A field path, mostly valid. */
  #fieldPath(plan: CollectionPlan, depth = 0): string {
    if (plan.isAuth && this.chance(12)) return this.pick(['email', 'email', 'verified', 'emailVisibility'])
    const kind = this.rng.below(14)
    if (kind === 0) return this.pick(['id', 'collectionId', 'nope', 'created'])
    if (kind === 1) {
      const others = this.collections.flatMap((each) =>
        each.fields.filter((field) => field.target === plan.name).map((field) => [each, field] as const),
      )
      if (others.length > 0 && depth < 2) {
        const [other, field] = this.pick(others)
        return `${other.name}_via_${field.name}.${this.#fieldPath(other, depth + 1)}`
      }
    }
    if (kind === 2 && plan.isAuth)
      return this.pick(['email', 'verified', 'emailVisibility', 'username', 'password', 'tokenKey'])
    const field = this.pick(plan.fields)
    if (field.target !== null && depth < 3 && this.chance(60)) {
      const target = this.collections.find((each) => each.name === field.target)
      if (target !== undefined) return `${field.name}.${this.#fieldPath(target, depth + 1)}`
    }
    if (field.type === 'json' && this.chance(60))
      return `${field.name}.${this.pick(['a', 'a.b', '0', 'list.1', 'b.c'])}`
    if (field.type === 'geoPoint' && this.chance(80)) return `${field.name}.${this.pick(['lon', 'lat'])}`
    const modifier = this.rng.below(100)
    if (modifier < 8) return `${field.name}:length`
    if (modifier < 16) return `${field.name}:each`
    if (modifier < 21) return `${field.name}:lower`
    return field.name
  }

  #literal(plan: CollectionPlan): string {
    switch (this.rng.below(9)) {
      case 0:
        return String(this.pick(numbers.filter((each) => each < 1e6)))
      case 1:
        return this.pick(['true', 'false', 'null', 'NULL', 'True'])
      case 2:
        return JSON.stringify(this.pick(dates))
      case 3:
        return `'${this.pick(options)}'`
      case 4:
        return JSON.stringify(this.#someId(this.pick(this.collections)))
      case 5:
        return this.#fieldPath(plan)
      case 6:
        return this.pick(['@now', '@todayStart', '@yearEnd', '@month', '@weekday', '@yesterday', '@monthEnd'])
      default:
        return JSON.stringify(this.pick(words))
    }
  }

  #comparison(plan: CollectionPlan, _all: readonly CollectionPlan[]): string {
    const gap = this.pick(['', ' '])
    if (this.chance(5)) return `strftime("%Y", ${this.#fieldPath(plan)})${gap}${this.pick(operators)}${gap}"2024"`
    if (this.chance(4)) {
      const geo = plan.fields.find((field) => field.type === 'geoPoint')
      if (geo !== undefined) return `geoDistance(${geo.name}.lon, ${geo.name}.lat, 1, 2) ${this.pick(['<', '>'])} 5000`
    }
    const [a, b] = [this.#fieldPath(plan), this.#literal(plan)]
    const [left, right] = this.chance(85) ? [a, b] : [b, a]
    return `${left}${gap}${this.pick(operators)}${gap}${right}`
  }

  filter(plan: CollectionPlan): string {
    let text = this.#comparison(plan, this.collections)
    for (let i = this.rng.below(3); i > 0; i--) {
      const next = this.#comparison(plan, this.collections)
      const join = this.pick(['&&', '||'])
      text = this.chance(30) ? `(${text}) ${join} ${next}` : `${text} ${join} ${next}`
    }
    if (this.chance(3)) {
      const at = this.rng.below(text.length)
      text =
        text.slice(0, at) + this.pick(["'", '"', '(', ')', '\\', '//', '&', '%', '.', ':', '@', '\n']) + text.slice(at)
    }
    return text
  }

  #value(field: FieldPlan): unknown {
    if (this.chance(6)) return this.pick(oddValues)
    switch (field.type) {
      case 'number':
        return this.chance(15) ? this.pick(['12', 'abc', ' 5', '1e3']) : this.pick(numbers)
      case 'bool':
        return this.pick<unknown>([true, false, 'true', 1])
      case 'date':
        return this.pick(dates)
      case 'email':
        return this.pick(['', 'a@b.co', 'bad', 'x@example.com'])
      case 'select':
        return field.isMultiple ? options.filter(() => this.chance(50)) : this.pick([...options, '', 'nope'])
      case 'json':
        return this.pick<unknown>([
          null,
          1,
          'text',
          [1, 2],
          { a: { b: 1 }, list: [1, 'x'] },
          { a: 'alpha' },
          true,
          '',
          [],
        ])
      case 'geoPoint':
        return { lon: this.pick([0, 1.5, 20]), lat: this.pick([0, 2.25, -40]) }
      case 'relation': {
        const target = this.collections.find((each) => each.name === field.target)!
        const ids = Array.from({ length: this.rng.below(3) }, () =>
          this.idOf(target, this.rng.below(recordsPerCollection)),
        )
        return field.isMultiple ? ids : (ids[0] ?? '')
      }
      default:
        return this.pick(words)
    }
  }

  values(plan: CollectionPlan, share: number): Record<string, unknown> {
    const values: Record<string, unknown> = {}
    for (const field of plan.fields) if (this.chance(share)) values[field.name] = this.#value(field)
    return values
  }

  /** A complete record for the start, written by a superuser. */
  newRecord(plan: CollectionPlan, index: number): Record<string, unknown> {
    return { ...this.values(plan, 80), ...this.#authPart(plan, index), id: this.idOf(plan, index) }
  }

  #authPart(plan: CollectionPlan, index: number): Record<string, unknown> {
    if (!plan.isAuth) return {}
    return {
      email: `user${index}@example.com`,
      emailVisibility: this.chance(50),
      verified: this.chance(50),
      password,
      passwordConfirm: password,
    }
  }

  #query(plan: CollectionPlan, isList: boolean): string {
    const query = new URLSearchParams()
    if (this.chance(40)) {
      const paths = Array.from({ length: 1 + this.rng.below(2) }, () => this.#expandPath(plan))
      query.set('expand', paths.join(','))
    }
    if (this.chance(20))
      query.set(
        'fields',
        this.pick(['id', '*', 'id,title', '*,expand.*', 'title:excerpt(3,true),id', 'nope', 'id,expand.title']),
      )
    if (!isList) return query.size > 0 ? `?${query}` : ''
    if (this.chance(75)) query.set('filter', this.filter(plan))
    const keys: string[] = []
    for (let i = this.rng.below(3); i > 0; i--) keys.push(this.pick(['-', '+', '']) + this.#fieldPath(plan))
    query.set('sort', [...keys, 'id'].join(','))
    if (this.chance(30)) query.set('page', this.pick(['1', '2', '0', '-1', '3']))
    if (this.chance(40)) query.set('perPage', this.pick(['1', '5', '10', '0', '2000']))
    if (this.chance(25)) query.set('skipTotal', this.pick(['1', 'true', 'T', '0']))
    return `?${query}`
  }

  #expandPath(plan: CollectionPlan, depth = 0): string {
    const relations = plan.fields.filter((field) => field.target !== null)
    const backs = this.collections.flatMap((each) =>
      each.fields.filter((field) => field.target === plan.name).map((field) => [each, field] as const),
    )
    if (backs.length > 0 && this.chance(30)) {
      const [other, field] = this.pick(backs)
      const rest = depth < 2 && this.chance(40) ? `.${this.#expandPath(other, depth + 1)}` : ''
      return `${other.name}_via_${field.name}${rest}`
    }
    if (relations.length === 0) return 'nope'
    const field = this.pick(relations)
    const target = this.collections.find((each) => each.name === field.target)!
    return field.name + (depth < 3 && this.chance(50) ? `.${this.#expandPath(target, depth + 1)}` : '')
  }

  request(index: number): RequestPlan {
    const plan = this.pick(this.collections)
    const caller = this.chance(35) ? 1 : this.chance(35) ? 0 : 2 + this.rng.below(usersCount)
    const path = `/api/collections/${plan.name}/records`
    const kind = this.rng.below(100)
    if (kind < 62) return { method: 'GET', path: path + this.#query(plan, true), body: null, caller }
    if (kind < 76)
      return { method: 'GET', path: `${path}/${this.#someId(plan)}${this.#query(plan, false)}`, body: null, caller }
    if (kind < 84) {
      const id = `new${String(index).padStart(12, '0')}`
      // A bcrypt hash costs more than a hundred requests: few new users.
      const auth = plan.isAuth && this.chance(5) ? this.#authPart(plan, 1_000 + index) : {}
      return {
        method: 'POST',
        path: path + this.#query(plan, false),
        body: { ...this.values(plan, 60), ...auth, id },
        caller,
      }
    }
    if (kind < 96) {
      const body: Record<string, unknown> = this.values(plan, 25)
      if (this.chance(40)) Object.assign(body, this.#modifiers(plan))
      return { method: 'PATCH', path: `${path}/${this.#someId(plan)}${this.#query(plan, false)}`, body, caller }
    }
    // The users that requests speak for stay.
    const at = plan.isAuth
      ? usersCount + this.rng.below(recordsPerCollection - usersCount)
      : this.rng.below(recordsPerCollection)
    return { method: 'DELETE', path: `${path}/${this.idOf(plan, at)}`, body: null, caller }
  }

  #modifiers(plan: CollectionPlan): Record<string, unknown> {
    const field = this.pick(plan.fields)
    const key = this.pick([`${field.name}+`, `+${field.name}`, `${field.name}-`])
    return { [key]: this.#value(field) }
  }
}
