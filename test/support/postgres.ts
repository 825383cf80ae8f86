/**
 * A real PostgreSQL for tests: a server of the test file's own, from Debian's package `postgresql`, in a temporary folder, reached
 * through a socket in that folder.
 *
 * A shell keeps it: when this process ends, in whatever way, its pipe to that shell closes, and the shell stops the server and
 * removes the folder.
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { chownSync, existsSync, globSync, mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"

/** The folder of `initdb` and `postgres`; `undefined` if PostgreSQL is not installed. */
const binaries: string | undefined = [
  // Debian keeps them off the PATH, by version
  ...globSync("/usr/lib/postgresql/*/bin").sort((a, b) => b.localeCompare(a, "en", { numeric: true })),
  ...(process.env["PATH"] ?? "").split(delimiter)
].find((folder) => folder !== "" && ["initdb", "postgres"].every((name) => existsSync(join(folder, name))))

/** Whether tests can have a server. Where `CI` is set they must: starting it fails then, instead of tests being skipped. */
export const isAvailable: boolean = binaries !== undefined || (process.env["CI"] ?? "") !== ""

if (!isAvailable) {
  console.warn("PostgreSQL is not installed: its tests are skipped (Debian: apt-get install postgresql)")
}

const script = `
  folder=$1 bin=$2 locale=$3; shift 3 # $locale: several arguments, or none
  "$@" "$bin/initdb" -D "$folder/data" -U opossum -A trust --no-sync --encoding=UTF8 --locale=C $locale >&2 && {
    "$@" "$bin/postgres" -D "$folder/data" -k "$folder" \\
      -c listen_addresses= -c fsync=off -c max_connections=100 -c log_min_messages=log >&2 &
    server=$!
    cat >/dev/null
    kill -QUIT $server
    wait $server
  }
  rm -rf "$folder"
`

const idOf = (user: string): number | undefined => {
  try {
    return Number(execFileSync("id", ["-u", user], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }))
  } catch {
    return undefined
  }
}

/** How to start a program as somebody else: PostgreSQL refuses to be run by root. */
const asSomebody = (folder: string): ReadonlyArray<string> => {
  if (process.getuid?.() !== 0) return []
  const id = idOf("postgres") ?? idOf("nobody")
  if (id === undefined) throw new Error("PostgreSQL cannot be run by root, and there is no user postgres or nobody")
  chownSync(folder, id, -1)
  return ["setpriv", "--reuid", String(id), "--clear-groups"]
}

interface Server {
  readonly folder: string
  readonly keeper: ChildProcess
}

const launch = (): Promise<Server> =>
  new Promise((resolve, reject) => {
    if (binaries === undefined) {
      reject(new Error("PostgreSQL is not installed, and CI is set (Debian: apt-get install postgresql)"))
      return
    }
    const version = Number(
      /\d+/.exec(execFileSync(join(binaries, "postgres"), ["--version"], { encoding: "utf8" }))?.[0]
    )
    // an order of texts that is not that of their bytes, so that it shows where tables rely on it
    const locale = version >= 15 ? "--locale-provider=icu --icu-locale=en" : ""
    // a socket's path has at most about 100 bytes
    const parent = tmpdir().length > 60 ? "/tmp" : tmpdir()
    const folder = mkdtempSync(join(parent, "opossum-pg-"))
    const keeper = spawn("sh", ["-c", script, "sh", folder, binaries, locale, ...asSomebody(folder)], {
      stdio: ["pipe", "ignore", "pipe"],
      // signals to the test run's group must not end it before it has cleaned up
      detached: true,
      cwd: "/"
    })
    let output = ""
    const collect = (text: unknown) => {
      output += String(text)
      if (!output.includes("database system is ready to accept connections")) return
      // what comes later is of no interest, but has to be taken
      keeper.stderr.off("data", collect).resume()
      // it must not keep this process alive: it ends with it
      keeper.unref()
      for (const stream of [keeper.stdin, keeper.stderr]) (stream as unknown as { unref(): void }).unref()
      resolve({ folder, keeper })
    }
    keeper.stderr.on("data", collect)
    keeper.once("error", reject)
    keeper.once("exit", () => reject(new Error(`PostgreSQL did not start:\n${output}`)))
  })

let running: Promise<Server> | undefined

/** The folder of the server's socket. Begins the server if it does not run yet. */
export const socket = Effect.map(Effect.promise(() => running ??= launch()), ({ folder }) => folder)

/** Stops the server; for the end of a test file. It would be stopped with the process, too. */
export const stop = async (): Promise<void> => {
  // that it did not start is told to those who asked for it
  const keeper = await running?.then(({ keeper }) => keeper, () => undefined)
  running = undefined
  if (keeper === undefined) return
  await new Promise<void>((resolve) => {
    keeper.ref()
    keeper.once("exit", () => resolve())
    keeper.stdin?.end()
  })
}

type ClientOptions = Omit<PgClient.PgPoolConfig, "host" | "username" | "database">

/** A client of the server at this socket, with connections of its own: as a process of its own has them. */
export const clientAt = (folder: string, options?: ClientOptions): Layer.Layer<SqlClient, SqlError> =>
  PgClient.layer({ host: folder, username: "opossum", database: "postgres", maxConnections: 4, ...options })
