// SPDX-License-Identifier: Apache-2.0

package write

import "reflect"

// covers reports whether a live JSON value holds all of a desired one. Maps may hold more. A list must hold each of the
// desired elements: by their name where all have one and no two the same, as containers and volumes do, and then may
// hold more; otherwise in the same order and number. An empty desired value is held by an absent one.
func covers(live, desired any) bool {
	switch d := desired.(type) {
	case map[string]any:
		l, _ := live.(map[string]any)
		for key, value := range d {
			if !covers(l[key], value) {
				return false
			}
		}
		return true
	case []any:
		l, _ := live.([]any)
		return coversList(l, d)
	case nil:
		return true
	case string:
		if d == "" && live == nil {
			return true
		}
	}
	return reflect.DeepEqual(live, desired)
}

func coversList(live, desired []any) bool {
	byName, named := indexByName(live)
	wanted, wantedNamed := indexByName(desired)
	if named && wantedNamed {
		for name, value := range wanted {
			if !covers(byName[name], value) {
				return false
			}
		}
		return true
	}
	if len(live) != len(desired) {
		return false
	}
	for i := range desired {
		if !covers(live[i], desired[i]) {
			return false
		}
	}
	return true
}

// indexByName maps the elements of a list by their field "name"; false when the list is empty, an element has no name,
// or two have the same.
func indexByName(list []any) (map[string]any, bool) {
	index := make(map[string]any, len(list))
	for _, element := range list {
		m, _ := element.(map[string]any)
		name, ok := m["name"].(string)
		if _, twice := index[name]; !ok || twice {
			return nil, false
		}
		index[name] = element
	}
	return index, len(list) > 0
}
