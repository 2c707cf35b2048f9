package query

import "strings"

// The functions that untrusted SQL may call, reviewed class by class against
// duckdb_functions() of the pinned DuckDB. Everything else is refused: what reads or
// writes files, network, settings, secrets, variables, sequences or the catalog; what
// runs SQL from text; what sleeps or logs; and what can run for minutes or allocate
// gigabytes inside one call, where no cancellation reaches it (levenshtein and its
// family, list_reduce, list_resize, bitstring); and what walks a JSON document by
// recursion on the C stack, which a deep document overflows, and with it the process
// (json_structure, json_merge_patch, json_contains, json_transform and the cast to
// VARIANT). The functions of bounded are allowed while their arguments are small
// constants.
//
// testdata/refused_functions has the others, by class. A test fails when DuckDB has a
// function that is in neither list, or no longer knows one that is.
const scalarFunctions = `
!__postfix % & && * ** + - ->> / // <-> << <=> <@ >> @ @> ^ ^@ | || ~
abs acos acosh add asin asinh atan atan2 atanh bit_count bit_length cbrt ceil ceiling cos cosh cot
degrees divide even exp factorial fdiv floor fmod gamma gcd greatest_common_divisor isfinite isinf isnan
lcm least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power radians round
round_even roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc xor greatest least
random gen_random_uuid uuid uuidv4 uuidv7 uuid_extract_timestamp uuid_extract_version

ascii base64 from_base64 to_base64 bin to_binary from_binary unbin hex to_hex from_hex unhex to_base
bit_position get_bit set_bit char_length character_length chr ord unicode concat concat_ws contains
decode encode ends_with formatreadabledecimalsize formatreadablesize format_bytes pg_size_pretty
parse_formatted_bytes instr position strpos lcase lower ucase upper left left_grapheme len length
length_grapheme ltrim rtrim trim md5 md5_number
md5_number_lower md5_number_upper sha1 sha256 nfc_normalize octet_length parse_dirname parse_dirpath
parse_filename parse_path prefix suffix regexp_escape regexp_extract regexp_extract_all regexp_full_match
regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table replace reverse right
right_grapheme split split_part str_split str_split_regex string_split string_split_regex string_to_array
starts_with strip_accents strlen substr substring substring_grapheme translate url_decode url_encode
hash hamming mismatches

age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day
dayname dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour
isodow isoyear julian last_day make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns
make_timestamptz microsecond millennium millisecond minute month monthname nanosecond normalized_interval
quarter second strftime strptime try_strptime time_bucket timezone timezone_hour timezone_minute
to_centuries to_days to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months
to_quarters to_seconds to_timestamp to_weeks to_years week weekday weekofyear year yearweek ago
now today current_date current_timestamp get_current_timestamp get_current_time current_localtime
current_localtimestamp transaction_timestamp

current_user session_user user current_role snowflake_id ulid uuid_v7

apply array_append array_apply array_cat array_concat array_contains
array_cosine_distance array_cosine_similarity array_cross_product array_distance array_distinct
array_dot_product array_extract array_filter array_grade_up array_has array_has_all array_has_any
array_indexof array_inner_product array_intersect array_length array_negative_dot_product
array_negative_inner_product array_pop_back array_pop_front array_position array_prepend array_push_back
array_push_front array_reverse array_reverse_sort array_select array_slice array_sort array_to_json
array_to_string array_to_string_comma_default array_transform array_unique array_value array_where
array_zip element_at filter flatten grade_up list_any_value list_append
list_apply list_approx_count_distinct list_avg list_bit_and list_bit_or list_bit_xor list_bool_and
list_bool_or list_cat list_concat list_contains list_cosine_distance list_cosine_similarity list_count
list_distance list_distinct list_dot_product list_element list_entropy list_extract list_filter
list_first list_grade_up list_has list_has_all list_has_any list_histogram list_indexof
list_inner_product list_intersect list_kurtosis list_kurtosis_pop list_last list_mad list_max list_median
list_min list_mode list_negative_dot_product list_negative_inner_product list_pack list_position
list_prepend list_product list_reverse list_reverse_sort list_select list_sem list_skewness list_slice
list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum list_transform list_unique list_value
list_var_pop list_var_samp list_where list_zip generate_subscripts unpivot_list
cardinality map map_concat map_contains map_contains_entry map_contains_value map_entries map_extract
map_extract_value map_from_entries map_keys map_values row struct_concat struct_contains struct_extract
struct_extract_at struct_has struct_indexof struct_insert struct_keys struct_pack struct_position
struct_update struct_values union_extract union_tag union_value
enum_code enum_first enum_last enum_range enum_range_boundary
json json_array json_array_length json_exists json_extract json_extract_path json_extract_path_text
json_extract_string json_keys json_object json_quote json_type json_valid json_value row_to_json to_json
json_group_array json_group_object

constant_or_null error nullif typeof pg_typeof unnest
`

// aggregateFunctions are the aggregate and window functions.
const aggregateFunctions = `
any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null
arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin array_agg avg bit_and bit_or
bit_xor bool_and bool_or corr count count_if count_star countif covar_pop covar_samp
cume_dist dense_rank entropy favg fill first first_value fsum geomean geometric_mean group_concat
histogram histogram_exact kahan_sum kurtosis kurtosis_pop lag last last_value lead list listagg mad max
max_by mean median min min_by mode nth_value ntile percent_rank product quantile quantile_cont
quantile_disc rank rank_dense regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx
regr_sxy regr_syy row_number sem skewness stddev stddev_pop stddev_samp string_agg sum
sum_no_overflow sumkahan var_pop var_samp variance wavg weighted_avg
`

// allowedTypes are the types of constants and casts. VARIANT is not among them: the
// cast from JSON recurses.
var allowedTypes = nameSet(`NULL BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT
	FLOAT DOUBLE DECIMAL VARCHAR CHAR BLOB BIT DATE TIME TIME_NS TIMESTAMP TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS INTERVAL UUID
	BIGNUM LIST ARRAY STRUCT MAP UNION ENUM INTEGER_LITERAL STRING_LITERAL UNKNOWN json enum`)

func init() {
	allowedTypes["TIME WITH TIME ZONE"], allowedTypes["TIMESTAMP WITH TIME ZONE"] = true, true
}

// tableFunctions may stand in FROM. They make their rows from their arguments, a
// chunk at a time.
const tableFunctions = `range generate_series unnest json_each`

// bounded functions are allowed if check accepts their arguments.
var bounded = map[string]func(args []node) bool{
	"repeat": func(a []node) bool {
		s, ok := a[0].constText()
		n, ok2 := a[1].constInt()
		return ok && ok2 && len(s) <= 100 && n <= 10_000
	},
	"lpad":            func(a []node) bool { n, ok := a[1].constInt(); return ok && n <= 10_000 },
	"rpad":            func(a []node) bool { n, ok := a[1].constInt(); return ok && n <= 10_000 },
	"range":           boundedRange,
	"generate_series": boundedRange,
	"format":          boundedFormat,
	"printf":          boundedFormat,
	"replace":         func(a []node) bool { return shortText(a[2]) },
	"regexp_replace":  func(a []node) bool { return shortText(a[2]) },
	"array_to_string": func(a []node) bool { return shortText(a[1]) },
	"list_aggregate":  namedAggregate,
	"list_aggr":       namedAggregate,
	"array_aggregate": namedAggregate,
	"array_aggr":      namedAggregate,
	"aggregate":       namedAggregate,
}

// boundedArgs are the least and the most arguments check is written for.
var boundedArgs = map[string][2]int{
	"repeat": {2, 2}, "lpad": {3, 3}, "rpad": {3, 3}, "range": {1, 3}, "generate_series": {1, 3},
	"format": {1, 100}, "printf": {1, 100}, "replace": {3, 3}, "regexp_replace": {3, 4}, "array_to_string": {2, 2},
	"list_aggregate": {2, 10}, "list_aggr": {2, 10}, "array_aggregate": {2, 10}, "array_aggr": {2, 10}, "aggregate": {2, 10},
}

// shortMax is the bytes of a text that takes the place of every match: it multiplies.
const shortMax = 100

// shortText accepts a short literal, or a parameter, which is looked at when it is there.
func shortText(n node) bool {
	s, ok := n.constText()
	return ok && len(s) <= shortMax || n.str("class") == "PARAMETER"
}

// namedAggregate accepts an aggregate function given by a constant name.
func namedAggregate(args []node) bool {
	name, ok := args[1].constText()
	return ok && allowedAggregates[fold(name)]
}

// boundedRange accepts whole-number limits that make at most rangeMax elements.
const rangeMax = 10_000

func boundedRange(args []node) bool {
	nums := make([]int64, len(args))
	for i, a := range args {
		n, ok := a.constInt()
		if !ok || n > 1<<40 || n < -(1<<40) {
			return false
		}
		nums[i] = n
	}
	from, to, step := int64(0), nums[0], int64(1)
	if len(nums) > 1 {
		from, to = nums[0], nums[1]
	}
	if len(nums) > 2 {
		step = nums[2]
	}
	return step == 0 || (to-from)/step < rangeMax
}

// boundedFormat accepts a constant format whose widths have at most three digits.
func boundedFormat(args []node) bool {
	s, ok := args[0].constText()
	if !ok || strings.Contains(s, "*") {
		return false
	}
	digits, open := 0, false
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			if digits++; digits > 3 {
				return false
			}
			continue
		case c == '{' && open: // a width taken from an argument
			return false
		case c == '{':
			open = true
		case c == '}':
			open = false
		}
		digits = 0
	}
	return true
}

func nameSet(lists ...string) map[string]bool {
	set := map[string]bool{}
	for _, l := range lists {
		for _, f := range strings.Fields(l) {
			set[f] = true
		}
	}
	return set
}

var (
	allowedFunctions      = nameSet(scalarFunctions, aggregateFunctions)
	allowedAggregates     = nameSet(aggregateFunctions)
	allowedTableFunctions = nameSet(tableFunctions)
	// lambdaFunctions call a lambda for each element of a list. Inside one another they
	// multiply, within one call.
	lambdaFunctions = nameSet(`apply filter list_apply list_filter list_transform array_apply array_filter array_transform`)
	vectorFunctions = nameSet(`array_cosine_distance array_cosine_similarity array_cross_product array_distance array_dot_product
		array_inner_product array_negative_dot_product array_negative_inner_product`)
	// growing functions give more than they take.
	growing   = nameSet(`repeat lpad rpad range generate_series replace regexp_replace list_concat list_cat array_concat array_cat array_to_string`)
	jsonPaths = nameSet(`json_extract json_extract_path json_extract_path_text json_extract_string json_value json_exists json_type json_keys json_array_length ->>`)
)
