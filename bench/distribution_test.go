package bench

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDistribution(t *testing.T) {
	hundred := make([]Sample, 100)
	for i := range hundred {
		hundred[i] = Sample{int64(100 - i), 1}
	}
	for _, tt := range []struct {
		name                     string
		samples                  []Sample
		total                    uint64
		median, p99, least, most int64
	}{
		{"none", nil, 0, 0, 0, 0, 0},
		{"one", []Sample{{7, 1}}, 1, 7, 7, 7, 7},
		{"two: the lower is the median", []Sample{{9, 1}, {5, 1}}, 2, 5, 9, 5, 9},
		{"1 to 100, backwards", hundred, 100, 50, 99, 1, 100},
		{"weights", []Sample{{10, 98}, {20, 1}, {30, 1}}, 100, 10, 20, 10, 30},
		{"1 of 101 is above the 99th percentile", []Sample{{10, 100}, {90, 1}}, 101, 10, 10, 10, 90},
		{"2 of 101 are not", []Sample{{10, 99}, {90, 2}}, 101, 10, 90, 10, 90},
		{"equal values come together", []Sample{{5, 2}, {6, 1}, {5, 3}}, 6, 5, 6, 5, 6},
		{"what never came does not count", []Sample{{1, 0}, {5, 1}}, 1, 5, 5, 5, 5},
		{"negative", []Sample{{-3, 3}, {2, 1}}, 4, -3, 2, -3, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Distribute(tt.samples)
			assert.Equal(t, tt.total, d.Total())
			assert.Equal(t, []int64{tt.median, tt.p99, tt.least, tt.most}, []int64{d.Median(), d.P99(), d.Min(), d.Max()})
		})
	}
}

func TestDistributionMinus(t *testing.T) {
	d := Distribution{{20, 1}, {24, 5}}
	assert.Equal(t, Distribution{{-4, 1}, {0, 5}}, d.Minus(24))
	assert.Equal(t, Distribution{{20, 1}, {24, 5}}, d, "the original stays")
}

func TestSamplesInJSON(t *testing.T) {
	d := Distribution{{-4, 1}, {1 << 53, 1 << 40}}
	text, err := json.Marshal(d)
	require.NoError(t, err)
	assert.Equal(t, "[[-4,1],[9007199254740992,1099511627776]]", string(text))
	var back Distribution
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, d, back)
	for _, bad := range []string{"[[1]]", "[[1,2,3]]", "[[1,-2]]", "[[1.5,2]]", `["x"]`, "[[1,99999999999999999999]]"} {
		assert.Error(t, json.Unmarshal([]byte(bad), &back), bad)
	}
}
