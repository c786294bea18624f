// Makes the schema and the records of a world on PocketBase, whose directory both servers then start from.

import type { Generator } from './generator.ts'
import { type CollectionPlan, password, recordsPerCollection, usersCount } from './plans.ts'
import { someUpload } from './requests/files.ts'
import { send } from './send.ts'

export const superuser = { email: 'root@example.com', password: '1234567890' }

const ruleNames = ['listRule', 'viewRule', 'createRule', 'updateRule', 'deleteRule', 'manageRule', 'authRule']
/** One that shut a caller out would leave the world without callers. */
const lateRules = ['authRule']
const rounds = 2

/** @returns a token for each caller: a guest's is empty, then the superuser's and those of users. */
export async function fill(url: string, generator: Generator): Promise<string[]> {
  const tokens: string[] = ['', '']
  const ask = (method: 'POST' | 'PUT' | 'PATCH', path: string, body: Record<string, unknown>) =>
    send(url, { method, path, body, caller: 1 }, tokens)
  const signIn = async (collection: string, identity: string, secret: string) => {
    const answer = await ask('POST', `/api/collections/${collection}/auth-with-password`, {
      identity,
      password: secret,
    })
    return (await expectOk(answer, 'sign in'))['token'] as string
  }
  tokens[1] = await signIn('_superusers', superuser.email, superuser.password)
  await expectOk(
    await ask('PATCH', '/api/settings', { batch: { enabled: true, maxRequests: 50, timeout: 30 } }),
    'batch',
  )
  await makeCollections(ask, generator)
  const tables = generator.collections.filter((plan) => !plan.isView)
  for (let round = 0; round < rounds; round++)
    for (const plan of tables) await makeRecords(url, tokens, generator, plan, round)
  const people = generator.collections[0]!
  for (let index = 0; index < usersCount; index++) {
    const [id, email] = [generator.idOf(people, index), `user${index}@example.com`]
    const body = { id, email, password, passwordConfirm: password, verified: true }
    // Where the random values of the first attempt were refused, the user is still missing.
    await ask('POST', '/api/collections/people/records', body)
    await ask('PATCH', `/api/collections/people/records/${id}`, { verified: true })
    tokens.push(await signIn('people', email, password))
  }
  for (const rule of lateRules) await ask('PATCH', '/api/collections/people', { [rule]: people.json[rule] })
  return tokens
}

async function makeCollections(
  ask: (method: 'POST' | 'PUT' | 'PATCH', path: string, body: Record<string, unknown>) => Promise<Response>,
  generator: Generator,
): Promise<void> {
  // Rules name other collections: first the tables, then the views, then the rules.
  const bare = generator.collections.map((plan) => ({
    ...plan.json,
    ...Object.fromEntries(
      ruleNames.filter((name) => name in plan.json).map((name) => [name, name === 'manageRule' ? undefined : '']),
    ),
  })) as Record<string, unknown>[]
  const tables = bare.filter((json) => json['type'] !== 'view')
  await expectOk(await ask('PUT', '/api/collections/import', { collections: tables }), 'import')
  const refused = new Set<string>()
  for (const json of bare.filter((each) => each['type'] === 'view'))
    if (!(await ask('POST', '/api/collections', json)).ok) refused.add(json['name'] as string)
  generator.collections = generator.collections.filter(({ name }) => !refused.has(name))
  for (const { id, json, isAuth } of generator.collections) {
    // A rule that PocketBase refuses stays open; both sides see what was stored.
    for (const rule of ruleNames)
      if (json[rule] !== undefined && !lateRules.includes(rule))
        await ask('PATCH', `/api/collections/${id}`, { [rule]: json[rule] })
    if (isAuth)
      await ask('PATCH', `/api/collections/${id}`, { passwordAuth: { enabled: true, identityFields: ['email'] } })
  }
}

async function makeRecords(
  url: string,
  tokens: readonly string[],
  generator: Generator,
  plan: CollectionPlan,
  round: number,
): Promise<void> {
  const path = `/api/collections/${plan.name}/records`
  const fileField = plan.fields.find((field) => field.type === 'file')
  for (let index = 0; index < (plan.isAuth ? usersCount + 6 : recordsPerCollection); index++) {
    const body = generator.newRecord(plan, index)
    const target = `${path}/${body['id']}`
    if (round === 0) await send(url, { method: 'POST', path, body, caller: 1 }, tokens)
    else if (!plan.isAuth)
      await send(url, { method: 'PATCH', path: target, body: generator.values(plan, 70), caller: 1 }, tokens)
    if (round === 0 || fileField === undefined || generator.chance(40)) continue
    const form = [0, 1].map(() => ({ name: fileField.name, value: someUpload(generator) }))
    await send(
      url,
      { method: 'PATCH', path: target, body: null, form: form.slice(fileField.isMultiple ? 0 : 1), caller: 1 },
      tokens,
    )
  }
}

async function expectOk(answer: Response, what: string): Promise<Record<string, unknown>> {
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${what}: ${answer.status} ${text}`)
  return (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>
}
