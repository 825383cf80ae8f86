/**
 * Coding of classes whose fields are in memory what they are in JSON (texts, whole numbers, yes or no, literals; lists and records of
 * these): checked in one pass, without the steps that a schema takes for what it might have to transform. Most events are such classes,
 * and reading them is bound by this.
 *
 * It is a shortcut, and never another answer: what it does not know, or what does not fit, is left to the schema, whose errors say what
 * is wrong and where.
 */
import type * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"

// models

/** What a value does not fit, or what has to be looked at by the schema. */
export const unfit: unique symbol = Symbol("unfit")
type Unfit = typeof unfit

/** The value itself if it cannot be changed, otherwise a copy. */
type Take = (value: unknown) => unknown

export interface PlainCodec {
  /** An instance of data. */
  readonly decode: (data: unknown) => unknown
  /** Data of an instance. */
  readonly encode: (instance: unknown) => Schema.JsonObject | Unfit
}

interface Property {
  readonly name: string
  readonly isOptional: boolean
  readonly take: Take
}

// values

const noOptions: SchemaAST.ParseOptions = {}

const passes = (checks: SchemaAST.Checks, value: unknown, ast: SchemaAST.AST): boolean => {
  for (const check of checks) {
    if (
      check._tag === "FilterGroup"
        ? !passes(check.checks, value, ast)
        : check.run(value, ast, noOptions) !== undefined
    ) {
      return false
    }
  }
  return true
}

const checked = (ast: SchemaAST.AST, take: Take): Take => {
  const { checks } = ast
  if (checks === undefined) return take
  return (value) => {
    const taken = take(value)
    return taken !== unfit && passes(checks, taken, ast) ? taken : unfit
  }
}

const ofType = (type: "string" | "number" | "boolean"): Take => (value) => typeof value === type ? value : unfit
const exactly = (wanted: unknown): Take => (value) => value === wanted ? value : unfit

const listOf = (take: Take): Take => (value) => {
  if (!Array.isArray(value)) return unfit
  const list: Array<unknown> = []
  for (let i = 0; i < value.length; i++) {
    const taken = take(value[i])
    if (taken === unfit) return unfit
    list.push(taken)
  }
  return list
}

const oneOf = (members: ReadonlyArray<Take>): Take => (value) => {
  for (const take of members) {
    const taken = take(value)
    if (taken !== unfit) return taken
  }
  return unfit
}

/** `into`: what is known of it before. */
const takeProperties = (
  properties: ReadonlyArray<Property>,
  value: { readonly [key: string]: unknown },
  into: Record<string, unknown>
): Record<string, unknown> | Unfit => {
  for (const { isOptional, name, take } of properties) {
    if (isOptional && !(name in value)) continue
    const taken = take(value[name])
    if (taken === unfit) return unfit
    into[name] = taken
  }
  return into
}

const isRecord = (value: unknown): value is { readonly [key: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value)

// schemas

/** How values of a schema are taken; `undefined` if they are something else in JSON, or not as simple. */
const takeOf = (ast: SchemaAST.AST): Take | undefined => {
  if (ast.encoding !== undefined) return undefined
  switch (ast._tag) {
    case "String":
      return checked(ast, ofType("string"))
    case "Number":
      return checked(ast, ofType("number"))
    case "Boolean":
      return checked(ast, ofType("boolean"))
    case "Null":
      return checked(ast, exactly(null))
    case "Literal":
      return checked(ast, exactly(ast.literal))
    case "Union": {
      if (ast.options?.mode === "oneOf" || ast.encodingChecks !== undefined) return undefined
      // Of records, the first that fits need not be the one that is meant: a schema looks for the most fitting one.
      const members = ast.types.map((type) => isSimple(type) ? takeOf(type) : undefined)
      return members.every((take) => take !== undefined) ? checked(ast, oneOf(members)) : undefined
    }
    case "Arrays": {
      const [item, ...more] = ast.rest
      const isList = more.length === 0 && ast.elements.length === 0 && ast.encodingChecks === undefined
      // A schema checks what is encoded as it is, and what is decoded as it was made: of records these differ in what they have besides.
      const isSame = ast.checks === undefined || (item !== undefined && isSimple(item))
      const take = isList && isSame && item !== undefined && !isOptional(item) ? takeOf(item) : undefined
      return take === undefined ? undefined : checked(ast, listOf(take))
    }
    case "Objects": {
      const properties = ast.checks === undefined ? propertiesOf(ast) : undefined
      return properties && ((value) => isRecord(value) ? takeProperties(properties, value, {}) : unfit)
    }
    default:
      return undefined
  }
}

const isSimple = ({ _tag }: SchemaAST.AST): boolean =>
  _tag === "String" || _tag === "Number" || _tag === "Boolean" || _tag === "Null" || _tag === "Literal"

const isOptional = (ast: SchemaAST.AST): boolean => ast.context?.isOptional ?? false

const propertiesOf = (
  { encodingChecks, indexSignatures, propertySignatures }: SchemaAST.Objects
): ReadonlyArray<Property> | undefined => {
  // A schema of nothing takes anything.
  if (indexSignatures.length > 0 || propertySignatures.length === 0 || encodingChecks !== undefined) return undefined
  const properties: Array<Property> = []
  for (const { name, type } of propertySignatures) {
    const take = takeOf(type)
    if (typeof name !== "string" || name === "__proto__" || take === undefined) return undefined
    properties.push({ name, isOptional: isOptional(type), take })
  }
  return properties
}

// constructors

/**
 * The codec of a class with a tag that is not stored, given the schema that codes it as JSON; `undefined` if it is not as simple.
 */
export const make = (
  class_: abstract new(...args: never) => unknown,
  tag: string,
  json: { readonly ast: SchemaAST.AST }
): PlainCodec | undefined => {
  const { ast } = json
  const link = ast._tag === "Declaration" && ast.checks === undefined && ast.encodingChecks === undefined &&
      ast.encoding?.length === 1
    ? ast.encoding[0]
    : undefined
  if (link === undefined || link.transformation._tag !== "Transformation") return undefined
  const { decode: construct } = link.transformation
  const fields = link.to
  if (fields._tag !== "Objects" || fields.encoding !== undefined || fields.checks !== undefined) return undefined
  if (construct._tag !== "Transform") return undefined
  const rest = fields.propertySignatures.filter(({ name, type }) =>
    // the tag that is not stored, and no other one
    !(name === "_tag" && type._tag === "Literal" && type.literal === tag && type.encoding !== undefined)
  )
  if (rest.length !== fields.propertySignatures.length - 1 || rest.some(({ name }) => name === "_tag")) return undefined
  const properties = propertiesOf({ ...fields, propertySignatures: rest } as SchemaAST.Objects)
  if (properties === undefined) return undefined
  return {
    decode: (data) => {
      if (!isRecord(data) || "_tag" in data) return unfit
      const taken = takeProperties(properties, data, { _tag: tag })
      return taken === unfit ? unfit : construct.transform(taken)
    },
    encode: (instance) =>
      instance instanceof class_ && (instance as { readonly _tag?: unknown })._tag === tag
        ? takeProperties(properties, instance as never, {}) as Schema.JsonObject | Unfit
        : unfit
  }
}
