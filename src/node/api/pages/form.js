// What the screens are made of: elements, fields and forms, and the requests that these send. Runs in browsers. Texts of
// others are only ever set as text.

const page = document.querySelector('#page')

/** What refusals say of a link's token. */
export const linkText = 'The link is not valid any more.'

/** After that a request is given up, ms. */
const requestTimeoutMs = 30_000

export const isText = (value) => typeof value === 'string' && value !== ''

/** A refusal of the API: its status, its message, and by field what is wrong there. */
export class Refusal extends Error {
  /** @param body what came with it: PocketBase's error, or anything, for other servers may stand between us and ours. */
  constructor(status, body) {
    super(isText(body?.message) ? body.message : `The server answered with ${status}.`)
    this.status = status
    this.fields = new Map()
    for (const [name, error] of Object.entries(body?.data ?? {}))
      if (isText(error?.message)) this.fields.set(name, error.message)
  }
}

/**
 * Posts to the API of the tenant that served this page; what it answers is of no interest, but that it did.
 *
 * Throws a Refusal, or an Error in words for people when there was no answer in time.
 *
 * @param path below `api/`. @param body FormData, or what becomes JSON. @param token of who asks; null for nobody.
 */
export async function call(path, body, { token = null, timeoutMs = requestTimeoutMs } = {}) {
  const headers = {}
  if (token !== null) headers.authorization = token
  const isForm = body instanceof FormData
  if (!isForm) headers['content-type'] = 'application/json'
  let response
  try {
    response = await fetch(`../api/${path}`, {
      method: 'POST',
      headers,
      body: isForm ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    })
  } catch (error) {
    throw new Error('The server could not be reached. Check the connection and try again.', { cause: error })
  }
  if (response.ok) return
  throw new Refusal(response.status, await response.json().catch(() => null))
}

/** An element with properties and children; texts stay texts. */
export function make(tag, props = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (name in element && !name.startsWith('aria')) element[name] = value
    else element.setAttribute(name, value)
  }
  element.append(...children)
  return element
}

/** Puts a screen in the place of the one before. */
export function show(title, ...children) {
  document.title = title
  page.replaceChildren(make('h1', {}, title), ...children)
}

/** Like `show`, for the end of something: focus goes there, so that it is read out. */
export function finish(title, ...texts) {
  show(title, ...texts.map((text) => (text instanceof Node ? text : make('p', {}, text))))
  page.focus()
}

/**
 * One labelled input with room for what is wrong with it.
 *
 * @param name of what is sent, and in the API's refusals. @returns its element, and `tell`, which shows a problem; none
 *   when that is empty.
 */
export function field({ name, label, type = 'text', autocomplete = 'off', help = null }) {
  const problem = make('p', { className: 'problem', id: `${name}-problem`, hidden: true })
  const described = [`${name}-problem`, ...(help === null ? [] : [`${name}-help`])].join(' ')
  const input = make('input', { id: name, name, type, required: true, autocomplete, 'aria-describedby': described })
  const entry = make('div', { className: 'entry' }, input)
  if (type === 'password') entry.append(reveal(input, label))
  const root = make('div', { className: 'field' }, make('label', { htmlFor: name }, label), entry)
  if (help !== null) root.append(make('p', { className: 'quiet', id: `${name}-help` }, help))
  root.append(problem)
  const tell = (text) => {
    problem.textContent = text
    problem.hidden = text === ''
    if (text === '') input.removeAttribute('aria-invalid')
    else input.setAttribute('aria-invalid', 'true')
  }
  return { name, input, root, tell }
}

/** The button that shows what stands in a password field. */
function reveal(input, label) {
  const button = make('button', {
    type: 'button',
    'aria-label': `Show ${label.toLowerCase()}`,
    'aria-pressed': 'false',
  })
  button.textContent = 'Show'
  button.addEventListener('click', () => {
    const isShown = input.type === 'text'
    input.type = isShown ? 'password' : 'text'
    button.textContent = isShown ? 'Show' : 'Hide'
    button.setAttribute('aria-pressed', String(!isShown))
  })
  return button
}

/**
 * A form that sends once at a time and puts what the API refuses at its fields.
 *
 * @param send gets the values by field name. @param check returns problems by field name that need no server.
 */
export function form({ fields, button, send, check = () => ({}) }) {
  const submit = make('button', { type: 'submit' }, button)
  const trouble = make('p', { className: 'problem', role: 'alert', hidden: true })
  const element = make('form', { noValidate: true }, ...fields.map(({ root }) => root), submit, trouble)
  let isBusy = false
  const tellAll = (problems, message) => {
    for (const each of fields) each.tell(problems[each.name] ?? '')
    trouble.textContent = message
    trouble.hidden = message === ''
    fields.find(({ name }) => problems[name])?.input.focus()
  }
  element.addEventListener('submit', async (event) => {
    event.preventDefault()
    if (isBusy) return
    const values = Object.fromEntries(fields.map(({ name, input }) => [name, input.value]))
    const problems = { ...check(values) }
    for (const { name, input } of fields)
      if (input.value === '') problems[name] = 'Fill this in.'
      else if (!input.checkValidity()) problems[name] = 'This is not an e-mail address.'
    if (Object.keys(problems).length > 0) return tellAll(problems, '')
    isBusy = true
    submit.setAttribute('aria-disabled', 'true')
    try {
      tellAll({}, '')
      await send(values)
    } catch (error) {
      const known = {}
      const rest = [] // what no field stands for
      for (const [name, text] of error instanceof Refusal ? error.fields : [])
        if (fields.some((each) => each.name === name)) known[name] = text
        else rest.push(name === 'token' ? linkText : text)
      const isTold = Object.keys(known).length > 0
      tellAll(known, rest.length > 0 ? rest.join(' ') : isTold ? '' : error.message)
    } finally {
      isBusy = false
      submit.removeAttribute('aria-disabled')
    }
  })
  return element
}
