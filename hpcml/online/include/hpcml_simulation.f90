! What hpcml_simulation.h says, for Fortran: see there. Compile this file with yours.
module hpcml_simulation
  use, intrinsic :: iso_c_binding
  implicit none

  type, bind(c) :: simulation
    integer(c_int32_t) :: number, num_dims, num_channels, num_parameters
    real(c_double) :: interval
    type(c_ptr) :: parameters   ! real(c_double), num_parameters
    type(c_ptr) :: names        ! texts of C
    type(c_ptr) :: shape, offset, local_shape, dims   ! integer(c_int64_t), num_dims each, the slowest dim first
    integer(c_int32_t) :: fortran_comm                ! for MPI
  end type
end module
