// What PocketBase's mails, redirects and the first start link to, as one page: the hash names the screen. Runs in browsers,
// asks the API of the tenant that served it, and keeps nothing. Texts of others are only ever set as text.

const page = document.querySelector('#page')

/** Below this a password is taken too, but not a good one. */
const passwordLengthGood = 10
/** Half a minute: after that the request is given up, ms. */
const requestTimeoutMs = 30_000
/** A backup is large, and its restore waits for requests under way, ms. */
const restoreTimeoutMs = 600_000

/** A refusal of the API: what it says, and what it says of each field. */
class Refusal extends Error {
  constructor(status, body) {
    super(body?.message || `The server answered with ${status}.`)
    this.status = status
    this.fields = body?.data ?? {}
  }
}

async function call(path, body, { token = null, timeoutMs = requestTimeoutMs } = {}) {
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
  // What stands between us and the server may answer with anything.
  throw new Refusal(response.status, await response.json().catch(() => null))
}

/** An element with properties and children; texts stay texts. */
function make(tag, props = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (name in element && !name.startsWith('aria')) element[name] = value
    else element.setAttribute(name, value)
  }
  element.append(...children)
  return element
}

function show(title, ...children) {
  document.title = title
  page.replaceChildren(make('h1', {}, title), ...children)
}

/** Like `show`, for the end of something: focus goes there, so that it is read out. */
function finish(title, ...texts) {
  show(title, ...texts.map((text) => (text instanceof Node ? text : make('p', {}, text))))
  page.focus()
}

const apiLink = () => make('a', { href: '../api/health' }, new URL('../api/', location.href).href)

/** One labelled input with room for what is wrong with it. */
function field({ name, label, type = 'text', autocomplete = 'off', help = null }) {
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
 * @param check problems by field name that need no server.
 */
function form({ fields, button, send, check = () => ({}) }) {
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
      const refused = Object.entries(error.fields ?? {}).map(([name, { message }]) => [name, message])
      const known = Object.fromEntries(refused.filter(([name]) => fields.some((each) => each.name === name)))
      // What no field stands for is said below, with its name unless the link itself is meant.
      const rest = refused
        .filter(([name]) => !(name in known))
        .map(([name, text]) => (name === 'token' ? linkText : text))
      tellAll(known, rest.length > 0 ? rest.join(' ') : Object.keys(known).length > 0 ? '' : error.message)
    } finally {
      isBusy = false
      submit.removeAttribute('aria-disabled')
    }
  })
  return element
}

const linkText = 'The link is not valid any more.'

/** @returns the claims of a token that is not over, else null. Nothing is trusted: the API checks the token itself. */
function claimsOf(token) {
  try {
    const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')
    const bytes = Uint8Array.from(atob(part), (char) => char.charCodeAt(0))
    const claims = JSON.parse(new TextDecoder().decode(bytes))
    return typeof claims.exp === 'number' && claims.exp * 1_000 > Date.now() ? claims : null
  } catch {
    return null // whatever stood in the address was no token
  }
}

const isText = (value) => typeof value === 'string' && value !== ''

function deadLink(advice) {
  finish('This link does not work', 'It is not valid, was used already, or has expired.', advice)
}

/** Passwords twice: the API compares as well, but says so for one field only. */
const passwordFields = (label) => [
  field({
    name: 'password',
    label,
    type: 'password',
    autocomplete: 'new-password',
    help: `At least ${passwordLengthGood} characters are recommended.`,
  }),
  field({ name: 'passwordConfirm', label: `${label} again`, type: 'password', autocomplete: 'new-password' }),
]
const samePasswords = ({ password, passwordConfirm }) =>
  password === passwordConfirm ? {} : { passwordConfirm: 'The two passwords differ.' }

function installer(token) {
  if (claimsOf(token)?.type !== 'auth')
    return deadLink('Start the server again for a new one, or make a superuser on the command line.')
  const account = form({
    fields: [field({ name: 'email', label: 'E-mail', type: 'email' }), ...passwordFields('Password')],
    button: 'Create superuser',
    check: samePasswords,
    async send(values) {
      await call('collections/_superusers/records', values, { token })
      finish(
        'The superuser is made',
        `Sign in as ${values.email} with your client. The API is at:`,
        make('p', {}, apiLink()),
      )
    },
  })
  show('Create the first superuser', account, restorer(token))
}

function restorer(token) {
  const file = field({
    name: 'file',
    label: 'Backup (.zip)',
    type: 'file',
    help: 'It replaces everything that is here. Take only a backup that you trust: nothing in it is checked.',
  })
  file.input.accept = '.zip'
  const restore = form({
    fields: [file],
    button: 'Restore this backup',
    async send() {
      const upload = new FormData()
      const chosen = file.input.files[0]
      upload.set('file', chosen)
      await call('backups/upload', upload, { token, timeoutMs: restoreTimeoutMs })
      await call(`backups/${encodeURIComponent(chosen.name)}/restore`, {}, { token, timeoutMs: restoreTimeoutMs })
      finish(
        'The backup is being restored',
        'Its superusers can sign in when that is done. The API is at:',
        make('p', {}, apiLink()),
      )
    },
  })
  return make('details', {}, make('summary', {}, 'Start from a backup instead'), restore)
}

function confirmPasswordReset(token) {
  const claims = claimsOf(token)
  if (claims === null || !isText(claims.email) || !isText(claims.collectionId))
    return deadLink('Ask for a new mail where you wanted to sign in.')
  show(
    'Set a new password',
    make('p', {}, 'For ', make('strong', {}, claims.email)),
    form({
      fields: passwordFields('New password'),
      button: 'Set new password',
      check: samePasswords,
      async send(values) {
        await call(`collections/${encodeURIComponent(claims.collectionId)}/confirm-password-reset`, {
          token,
          ...values,
        })
        finish('The password is changed', 'You can go back and sign in with it.')
      },
    }),
  )
}

async function confirmVerification(token) {
  const claims = claimsOf(token)
  if (claims === null || !isText(claims.email) || !isText(claims.collectionId))
    return deadLink('Ask for a new mail in the app.')
  const path = `collections/${encodeURIComponent(claims.collectionId)}`
  show('Confirming your address', make('p', { role: 'status' }, claims.email))
  try {
    await call(`${path}/confirm-verification`, { token })
    finish('The address is confirmed', claims.email)
  } catch (error) {
    const again = form({
      fields: [],
      button: 'Send a new mail',
      async send() {
        await call(`${path}/request-verification`, { email: claims.email })
        finish('A new mail is on its way', `Look for it at ${claims.email}.`)
      },
    })
    finish(
      'The address is not confirmed',
      error instanceof Refusal && error.status < 500 ? linkText : error.message,
      again,
    )
  }
}

function confirmEmailChange(token) {
  const claims = claimsOf(token)
  if (claims === null || !isText(claims.newEmail) || !isText(claims.collectionId))
    return deadLink('Ask for the change again in the app.')
  show(
    'Change your e-mail address',
    make('p', {}, 'The new one is ', make('strong', {}, claims.newEmail)),
    form({
      fields: [field({ name: 'password', label: 'Your password', type: 'password', autocomplete: 'current-password' })],
      button: 'Change address',
      async send({ password }) {
        const path = `collections/${encodeURIComponent(claims.collectionId)}/confirm-email-change`
        await call(path, { token, password })
        finish('The address is changed', 'You can go back and sign in with it.')
      },
    }),
  )
}

function requestPasswordReset() {
  show(
    'Forgotten superuser password',
    form({
      fields: [field({ name: 'email', label: 'E-mail', type: 'email', autocomplete: 'username' })],
      button: 'Send a mail',
      async send({ email }) {
        await call('collections/_superusers/request-password-reset', { email })
        finish('Look for a mail', `If ${email} belongs to a superuser, it holds a link for a new password.`)
      },
    }),
  )
}

/** @param outcome what the window that the app opened for signing in is for no longer. */
function signedIn(outcome) {
  window.close() // works where a script has opened it
  finish(outcome, 'You can close this window and go back to the app.')
}

function nothingHere() {
  show(
    'There is no dashboard here yet',
    make(
      'p',
      {},
      'This version of Pocketfleet has no dashboard. Superusers use the API, with any client of PocketBase:',
    ),
    make('p', {}, apiLink()),
    make('p', {}, make('a', { href: '#/request-password-reset' }, 'Forgotten superuser password')),
  )
}

const screens = [
  [/^#\/pbinstall\/([^/]+)$/, installer],
  [/^#\/auth\/confirm-password-reset\/([^/]+)$/, confirmPasswordReset],
  [/^#\/auth\/confirm-verification\/([^/]+)$/, confirmVerification],
  [/^#\/auth\/confirm-email-change\/([^/]+)$/, confirmEmailChange],
  [/^#\/auth\/oauth2-redirect-success$/, () => signedIn('You are signed in')],
  [/^#\/auth\/oauth2-redirect-failure$/, () => signedIn('Signing in did not work')],
  [/^#\/request-password-reset$/, requestPasswordReset],
]

function route() {
  for (const [pattern, screen] of screens) {
    const match = pattern.exec(location.hash.split('?')[0])
    if (match !== null) return screen(match[1])
  }
  nothingHere()
}

window.addEventListener('hashchange', route)
route()
