/* What mypyc's C code does most, done without a call into the interpreter. setup.py has every C file begin with it.

   Comes in: CPython's public API. Goes out: the same names, with the common case inlined. Nothing here changes what a
   value is; floats, which every script makes all the time, are kept for the next one when they die (CPython does the
   same, one call away). */
#ifndef HSL_NATIVE_H
#define HSL_NATIVE_H

#define PY_SSIZE_T_CLEAN
#if __has_include("CPy.h") && !defined(Py_GIL_DISABLED)
#define _Py_Dealloc hsl_dealloc
#include <Python.h>

#define HSL_SPARE_FLOATS 256

static PyObject *hsl_spare[HSL_SPARE_FLOATS];
static int hsl_spares = 0;

void hsl_dealloc(PyObject *object) {
    if (Py_IS_TYPE(object, &PyFloat_Type) && hsl_spares < HSL_SPARE_FLOATS)
        hsl_spare[hsl_spares++] = object;
    else
        Py_TYPE(object)->tp_dealloc(object);
}

static inline PyObject *hsl_float(double value) {
    if (hsl_spares > 0) {
        PyObject *result = hsl_spare[--hsl_spares];
        Py_SET_REFCNT(result, 1);
        ((PyFloatObject *)result)->ob_fval = value;
        return result;
    }
    return PyFloat_FromDouble(value);
}
#define PyFloat_FromDouble(value) hsl_float(value)

static inline double hsl_double(PyObject *value) {
    return Py_IS_TYPE(value, &PyFloat_Type) ? PyFloat_AS_DOUBLE(value) : (PyFloat_AsDouble)(value);
}
#define PyFloat_AsDouble(value) hsl_double(value)

/* No value of a script is of a subclass. */
#undef PyFloat_Check
#define PyFloat_Check(value) Py_IS_TYPE((PyObject *)(value), &PyFloat_Type)

static inline int hsl_append(PyObject *list, PyObject *item) {
    PyListObject *self = (PyListObject *)list;
    Py_ssize_t size = Py_SIZE(self);
    if (size < self->allocated) {
        Py_INCREF(item);
        self->ob_item[size] = item;
        Py_SET_SIZE(self, size + 1);
        return 0;
    }
    return (PyList_Append)(list, item);
}
#define PyList_Append(list, item) hsl_append(list, item)

#endif
#endif
